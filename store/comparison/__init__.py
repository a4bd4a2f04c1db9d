"""A plan beside what is stored: what differs, what it will take."""
