"""What was released, and every step of it: an append-only ledger per sweep."""
