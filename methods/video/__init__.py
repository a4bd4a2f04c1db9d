"""Methods that reduce the visual tokens of videos; every image of another layout is a frame."""
