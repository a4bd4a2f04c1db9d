"""A prompt is edited whose cache exists: what of the cache is used again."""
