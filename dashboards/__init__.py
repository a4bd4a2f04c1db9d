"""What people look at: figures, tables, progress and the MLflow pages."""
