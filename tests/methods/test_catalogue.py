"""The catalogue is complete, clean, and agrees with the methods that point into it."""

from __future__ import annotations

import re
from collections import Counter

from methods.catalogue import catalogue
from methods.registry import entries


def test_every_method_of_the_survey_is_there_once() -> None:
    rows = catalogue()
    assert len(rows) == 135
    assert Counter(row.training for row in rows.values()) == {
        "full-training": 57,
        "training-free": 51,
        "light-training": 27,
    }


def test_no_typesetting_is_left_in_titles_and_addresses() -> None:
    for row in catalogue().values():
        assert not re.search(r"[~\\{}$]|\s{2}|^\s|\s$", row.title), row.id
        if row.code_url is not None:
            assert re.fullmatch(r"https?://[\w./-]+", row.code_url), row.id


def test_methods_point_to_rows_with_their_own_title() -> None:
    pointing = [e.method.paper for e in entries().values() if e.method.paper]
    for paper in pointing:
        if paper.catalogue is not None:
            assert catalogue()[paper.catalogue].title == paper.title
        else:
            assert paper.title not in {row.title for row in catalogue().values()}
