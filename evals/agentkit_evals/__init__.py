"""The import root of evaluation suites. Nothing is here yet."""
