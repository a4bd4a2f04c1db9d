import numpy as np
import pytest

from sweeps.data import captions


def content(*placed):
    digits = np.full((1, 9), captions.NO_DIGIT)
    colours = np.full((1, 9), captions.NO_COLOUR)
    for cell, colour, digit in placed:
        digits[0, cell], colours[0, cell] = digit, captions.COLOURS.index(colour)
    return digits, colours


def test_a_caption_names_digits_in_reading_order():
    tokens = captions.tokens_of(*content((8, "cyan", 7), (1, "red", 0), (3, "blue", 0)))
    assert captions.decode(tokens[0]) == (
        "red zero top centre , blue zero middle left , cyan seven bottom right"
    )


def test_words_survive_encoding_and_every_word_is_a_token():
    caption = "magenta nine bottom centre , green four bottom right"
    tokens = captions.encode(caption)
    assert captions.decode(tokens) == caption
    assert tokens[0] == captions.START
    assert (tokens == captions.END).argmax() == 1 + len(caption.split())
    assert (tokens[len(caption.split()) + 2 :] == captions.PADDING).all()
    assert len(set(captions.WORDS)) == captions.VOCABULARY == 26


def test_the_longest_caption_fills_the_length():
    tokens = captions.tokens_of(*content(*((cell, "red", 1) for cell in range(3))))
    assert (tokens != captions.PADDING).all()


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("red tree top left", "unknown word 'tree'"),
        ("<end>", "unknown word '<end>'"),
        ("", "got 0"),
        ("red " * 15, "1 to 14 words; got 15"),
    ],
)
def test_what_is_no_caption_is_refused(caption, message):
    with pytest.raises(ValueError, match=message):
        captions.encode(caption)
