"""Adapters that open Hugging Face models, one family to a file."""

import logging

for _name in ("torchao", "torch.utils._pytree"):
    # transformers imports torchao where it is installed, which then logs what kernels of other
    # machines this one lacks
    logging.getLogger(_name).setLevel(logging.ERROR)
