"""Proofs counted in thousands: the same code as the tests, run in full."""
