"""Processes that people start: the command line, workers on Ray, serving."""
