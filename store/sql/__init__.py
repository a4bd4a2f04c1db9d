"""Statements, one module for each group of tables; only the repository executes them."""
