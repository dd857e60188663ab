"""A ledger in cents."""
