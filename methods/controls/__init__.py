"""What every method must beat: controls that use nothing but counts and sizes; one file each."""
