"""Adapters that open Hugging Face models, one family to a file."""
