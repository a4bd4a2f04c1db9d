"""Images in requests: data URIs, decoded within limits.

A few bytes can stand for billions of pixels, so the size is read from the header first and nothing
larger than :data:`MAX_PIXELS` is decoded. No address is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from typing import Final

from PIL import Image

MAX_PIXELS: Final = 2**22
"""4 megapixels."""
MAX_IMAGE_BYTES: Final = 4 * 2**20
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
_DATA_URI: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def picture(uri: str) -> Image.Image:
    """The RGB image of a base64 data URI; of an animation, the first frame.

    Raises ValueError for what is no image, and for images over the limits.
    """
    head = _DATA_URI.match(uri)
    if head is None:
        raise ValueError(
            "an image_url must be a data URI such as data:image/png;base64,...; nothing is fetched"
        )
    content = _decoded(uri[head.end() :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
        return _opened(content)


def _decoded(text: str) -> bytes:
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise ValueError(f"an image may have at most {MAX_IMAGE_BYTES} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("an image's data are not valid base64") from None


def _opened(content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _TooLargeError
            return image.convert("RGB")
    except _TooLargeError:
        raise ValueError(f"an image may have at most {MAX_PIXELS} pixels") from None
    except Image.DecompressionBombError:
        raise ValueError(f"an image may have at most {MAX_PIXELS} pixels") from None
    except Exception:
        # decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error
        raise ValueError(f"an image cannot be read; choices: {', '.join(FORMATS)}") from None


class _TooLargeError(Exception):
    pass
