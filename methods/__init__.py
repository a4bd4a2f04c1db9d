"""What compression is: transforms, methods, schedules and the models they attach to."""
