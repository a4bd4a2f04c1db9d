"""Typer commands: each parses, calls, prints."""
