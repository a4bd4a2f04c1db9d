"""The `llama-recall` backbone: README.md is its model card, recipe.py trains it."""
