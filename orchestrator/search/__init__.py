"""Which trials a sweep runs: all of them, a race, or what an algorithm suggests."""
