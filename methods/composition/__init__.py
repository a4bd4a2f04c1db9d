"""Methods made of methods: several at different places, or one paper's part with another's."""
