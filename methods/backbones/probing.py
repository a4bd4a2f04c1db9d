"""Running parts of a model on the side: for gradients, and so that nothing that watches it notices.

What attaches to a model sees one forward pass after the other; a probe is none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from methods.backbones import attention_tap


@contextmanager
def probing(attentions: Iterable[nn.Module]) -> Iterator[None]:
    """No tap sees what ``attentions`` compute inside the block, and kernels repeat bit for bit.

    Gradients are off but can be turned on, also where inference mode is in force outside. Tensors
    made outside need a clone before they take part in a gradient.
    """
    cudnn = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        deterministic=True,
        allow_tf32=torch.backends.cudnn.allow_tf32,
    )
    with (
        attention_tap.paused(attentions),
        sdpa_kernel(SDPBackend.MATH),
        cudnn,
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        yield
