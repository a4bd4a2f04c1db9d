"""Pictures and chats about them, as OpenAI's clients send them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from sweeps.data import scenes


def png(pixels_CSS: Any) -> str:
    """A normalised picture as a data URI."""
    levels = (np.asarray(pixels_CSS) * scenes.PIXEL_STD + scenes.PIXEL_MEAN) * 255
    image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    held = io.BytesIO()
    image.save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def shown(question: str, *images: str) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
