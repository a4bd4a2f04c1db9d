"""Methods that reduce the patch tokens of a vision tower; one file each."""
