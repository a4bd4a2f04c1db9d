"""Methods that compress a key/value cache once the prompt has been read; one to a file."""
