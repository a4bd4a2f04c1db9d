"""Small backbones that ship with the project: recipes, weights and model cards."""
