import ast
import subprocess
import sys

import numpy as np
import pytest

from sweeps.data import source_text
from sweeps.data.contexts import SPLITS


def test_no_file_is_in_two_splits_and_most_are_for_training():
    sets = {split: set(source_text.files(split)) for split in SPLITS}
    assert sum(map(len, sets.values())) == len(set.union(*sets.values()))
    assert len(sets["train"]) > 5 * len(sets["test"]) > 0


def test_the_split_of_a_file_depends_on_its_name_alone():
    assert "operator.py" in source_text.files("test")
    assert "netrc.py" in source_text.files("test")
    assert "argparse.py" in source_text.files("train")
    assert "asyncio/locks.py" in source_text.files("test")


def test_only_source_that_people_wrote_for_the_library_is_there():
    names = [name for split in SPLITS for name in source_text.files(split)]
    parts = {part for name in names for part in name.split("/")}
    assert parts.isdisjoint({"site-packages", "test", "tests", "idlelib", "encodings"})
    assert not any(part.startswith("_sysconfigdata") for part in parts)
    for name in source_text.files("test"):
        ast.parse((source_text.folder() / name).read_bytes())


def test_windows_are_text_of_the_split_behind_a_start_token():
    windows = source_text.stream("test", 50, 101)
    files = [(source_text.folder() / name).read_bytes() for name in source_text.files("test")]
    assert windows.shape == (50, 101)
    assert (windows[:, 0] == source_text.START).all()
    for window in windows:
        assert any(bytes(window[1:].astype(np.uint8)) in text for text in files)


def test_windows_of_a_stream_do_not_overlap():
    windows = {bytes(w[1:].astype(np.uint8)) for w in source_text.stream("test", 300, 1101)}
    texts = [(source_text.folder() / name).read_bytes() for name in source_text.files("test")]
    apart = {text[at : at + 1100] for text in texts for at in range(0, len(text), 1100)}
    assert len(windows) == 300
    assert windows <= apart


def test_training_windows_come_from_training_files_and_everywhere_in_them():
    windows = source_text.sample(np.random.default_rng(0), "train", 40, 65)
    files = [(source_text.folder() / name).read_bytes() for name in source_text.files("train")]
    found = {
        next(i for i, text in enumerate(files) if bytes(window[1:].astype(np.uint8)) in text)
        for window in windows
    }
    assert len(found) > 15


def test_a_short_stream_is_the_front_of_a_long_one():
    long = source_text.stream("test", 200, 129)
    np.testing.assert_array_equal(source_text.stream("test", 20, 129), long[:20])


def test_more_windows_than_there_are_is_refused():
    with pytest.raises(ValueError, match="windows of 128 bytes; 1000000 were asked for"):
        source_text.stream("test", 10**6, 129)


def test_digests_are_those_of_the_files_and_equal_in_another_process():
    code = "from sweeps.data import source_text as t; print('\\n'.join(t.digests('test')))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert tuple(out.stdout.splitlines()) == source_text.digests("test")
    assert len(source_text.digests("test")) == len(source_text.files("test"))


def test_a_python_without_source_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_text, "folder", lambda: tmp_path)
    source_text.files.cache_clear()
    with pytest.raises(ValueError, match="no source of its standard library"):
        source_text.files("test")
    source_text.files.cache_clear()
