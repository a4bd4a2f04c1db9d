"""Tasks, one file each; a file's docstring is the task's card."""
