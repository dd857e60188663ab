"""Multi-turn tool-use evaluation suites and their runner."""
