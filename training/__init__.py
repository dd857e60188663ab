"""Training programs: not part of the installed package."""
