"""Statements and what they answer, one module for each group of tables."""
