"""What to run: the sweep file, its tasks and reference models, the plan; plain data."""
