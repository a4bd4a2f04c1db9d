"""Results database, its mirror in MLflow, and what the frontier is; knows trials, not Ray."""
