"""Requests that every task on 48x48 scenes refuses, and why."""

BLANK = [[[0.0] * 48] * 48] * 3
MALFORMED_PICTURES = [
    ("scene", "shape"),
    ([[1.0], [1.0, 2.0]], "rows differ"),
    (BLANK[:1], r"got \(1, 48, 48\)"),
    ([[["1"] * 48] * 48] * 3, "numbers only"),
    ([[[float("nan")] * 48] * 48] * 3, "finite"),
]
MALFORMED_EXAMPLES = [(64, "from 0 to 63; got 64"), (-1, "got -1"), (True, "got True")]
