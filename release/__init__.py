"""What is done for a release, beside the tests: `CONTRIBUTING.md` has the list."""
