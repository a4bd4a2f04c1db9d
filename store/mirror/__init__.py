"""MLflow shows what the store knows."""
