"""The `vit-dense` backbone: README.md is its model card, recipe.py trains it."""
