"""Races, decided from what is stored."""
