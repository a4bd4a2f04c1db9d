"""The 135 compression methods that the project knows of, implemented or not.

Facts only, from ``catalogue.csv`` beside this module: what a method is called, where it belongs,
how much training it needs, where its authors' code is.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Training = Literal["training-free", "light-training", "full-training"]


class CatalogueRow(BaseModel):
    """One published method, implemented here or still to come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="Short name, unique in the catalogue.")
    title: str = Field(description="Title of the paper.")
    family: str = Field(description="What is compressed and where, for example vision-merge.")
    tier: int = Field(
        ge=1,
        le=4,
        description="Effort: 1 training-free, 2 trains a small module, 3 trains a small model, 4 "
        "needs large pretrained models or special data.",
    )
    training: Training = Field(description="Training that the paper itself does.")
    code_url: str | None = Field(description="Authors' code or project page, where published.")


@cache
def catalogue() -> dict[str, CatalogueRow]:
    """All rows by id, in the order of the file."""
    text = resources.files("methods").joinpath("catalogue.csv").read_text(encoding="utf-8")
    rows = [
        CatalogueRow.model_validate({key: value or None for key, value in row.items()})
        for row in csv.DictReader(text.splitlines())
    ]
    return {row.id: row for row in rows}
