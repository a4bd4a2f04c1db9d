"""What a stack is made of decides whether older results are still its own."""

import pytest

from methods import registry
from methods.kv.snapkv import SnapKV


def test_a_new_version_of_a_component_is_a_new_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = {"stages": [{"method": "adakv", "keep": 0.5}]}
    before = registry.build("stack", stack).revision
    monkeypatch.setattr(SnapKV, "version", SnapKV.version + 1)
    assert registry.build("stack", stack).revision == before + 1
