"""List the presses that a sweep can name, and store them in ``methods/kvpress/_presses.json``.

``make fidelity`` runs it in an environment of its own. Every press of the release is attached to
the shipped decoder at ratio 0.5, and the cache is looked at: whether it got shorter, or whether
keys are only masked. A press that does neither, or fails, is stored with the reason. Presses that
wrap another one are tried with the one that KnormPress is.
"""

import dataclasses
import inspect
import json
import os
import re
from importlib.metadata import metadata, version
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

os.environ["HF_HUB_OFFLINE"] = "1"  # a press that downloads weights of its own is not listed

import kvpress
from inputs import REFERENCE, prompts, trained_llama
from kvpress_indices import keys_after
from transformers.utils import logging

TABLE = Path(__file__).parents[2] / "methods" / "kvpress" / "_presses.json"
ABSTRACT = (kvpress.BasePress, kvpress.ScorerPress)
PLAIN = (bool, int, float, str)
LIBRARY = "https://arxiv.org/abs/2510.00636"
"""The paper of kvpress itself, which proposes ExpectedAttentionPress; linked once, at the top."""


def presses():
    """Every class of the release that is a press, by name."""
    found = inspect.getmembers(kvpress, inspect.isclass)
    return {
        name: press
        for name, press in found
        if issubclass(press, kvpress.BasePress) and press not in ABSTRACT
    }


def papers():
    """Address of the paper behind each press, from the list on the release's own page."""
    found = {"ExpectedAttentionPress": LIBRARY}
    for line in metadata("kvpress").json["description"].splitlines():
        named, _, about = line.partition("[source]")
        link = re.search(r"\[paper\]\((\S+?)\)", about)
        if link and line.startswith("- `"):
            found |= dict.fromkeys(re.findall(r"`(\w+Press)`", named), link[1])
    return found


def described(press):
    """What a sweep may set, and what the cache looks like afterwards."""
    params = parameters(press)
    is_wrapper = any(kind["type"] == "press" for kind in params.values())
    if not is_wrapper and not hasattr(press, "compression_ratio"):
        raise ValueError("it has no compression ratio")
    given = {name: kvpress.KnormPress(0.5) for name, kind in params.items() if is_press(kind)}
    try:
        attention, masks = "sdpa", only_masks(press, given, "sdpa")
    except AssertionError as error:
        if "eager" not in str(error):
            raise
        attention, masks = "eager", only_masks(press, given, "eager")
    about = inspect.getdoc(press).split("\n\n")[0].replace("\n", " ")
    about = re.sub(r":class:`(\w+)`", r"\1", about)
    return {
        "about": about,
        "paper": papers().get(press.__name__),
        "scores": issubclass(press, kvpress.ScorerPress),
        "masks": masks,
        "attention": attention,
        "params": params,
    }


def is_press(kind):
    return kind["type"] == "press"


def parameters(press):
    """Constructor parameters with plain values or another press as value."""
    hints = get_type_hints(press)
    fields = [field for field in dataclasses.fields(press) if field.init]
    found = {field.name: parameter(field, hints[field.name]) for field in fields}
    found.pop("compression_ratio", None)
    return {name: kind for name, kind in found.items() if kind is not None and name[0] != "_"}


def parameter(field, hint):
    """Type and default, or None where the default has to do."""
    if isinstance(hint, type) and issubclass(hint, kvpress.BasePress):
        return {"type": "press"}
    if get_origin(hint) is not None and field.default is dataclasses.MISSING:
        raise ValueError(f"its parameter {field.name} is no plain value")
    if str(get_origin(hint)) == "typing.Literal":
        return {"type": "str", "choices": list(get_args(hint)), "default": field.default}
    if hint in PLAIN and isinstance(field.default, PLAIN):
        return {"type": hint.__name__, "default": hint(field.default)}
    return None


def only_masks(press, given, attention):
    """Whether the cache keeps its length and keys are masked.

    Raises ValueError where neither happens.
    """
    model = trained_llama(attention)
    built = press(**given)
    built.compression_ratio = 0.5
    prompt = prompts(model)[:1]  # kvpress reads one at a time
    lengths = [keys.shape[2] for keys in keys_after(model, prompt, built)]
    masked = [getattr(layer.self_attn, "masked_key_indices", None) for layer in model.model.layers]
    if any(indices is not None for indices in masked):
        return True
    if sum(lengths) == len(lengths) * prompt.shape[1]:
        raise ValueError("it leaves the cache of a prompt as it is")
    return False


def main():
    logging.disable_progress_bar()
    found, others = {}, {}
    for name, press in presses().items():
        try:
            found[name] = described(press)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            others[name] = reason.replace(str(REFERENCE), "the shipped decoder")
    table = {"kvpress": version("kvpress"), "presses": found, "others": others}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
