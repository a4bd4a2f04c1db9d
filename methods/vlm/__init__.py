"""Methods that reduce the visual tokens of vision-language models."""
