"""API keys and their quotas."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.core.keys import BadKeys, Key, Keys, Quotas


def entry(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def written(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": entries}))
    os.utime(path, ns=(0, hash(path.read_bytes()) & 0xFFFFFFFF))  # a clock too coarse for a test's two writes
    return path


def test_a_key_is_found_by_its_digest(tmp_path: Path) -> None:
    """And nothing else is: neither the digest itself, nor an empty one, nor a part."""
    keys = Keys(written(tmp_path / "keys", entry("ridge", "secret"), entry("gone", "old", revoked=True)))
    found, gone = keys.find("secret"), keys.find("old")
    assert found is not None and found.name == "ridge" and not found.revoked
    assert gone is not None and gone.revoked
    assert [keys.find(each) for each in ("", "secre", "secret ", entry("x", "secret")["sha256"], "\udcff")] == [
        None
    ] * 5


def test_a_key_is_revoked_without_a_restart(tmp_path: Path) -> None:
    """The file is read again when it changes; one that cannot be read lets nobody in."""
    path = written(tmp_path / "keys", entry("ridge", "secret"))
    keys = Keys(path)
    assert keys.find("secret")
    written(path, entry("ridge", "another"))
    assert keys.find("secret") is None and keys.find("another")
    path.write_text("{")
    with pytest.raises(BadKeys, match="no file of API keys"):
        keys.find("another")
    path.unlink()
    with pytest.raises(BadKeys, match="cannot be read"):
        keys.find("another")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"keys": [{"name": "a"}]}', '{"keys": [{"name": "a", "sha256": "x", "revoke": true}]}', "\xff"]
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    """A misspelt field too: a key that was meant to be revoked must not go on."""
    (tmp_path / "keys").write_text(text, encoding="latin-1")
    with pytest.raises(BadKeys):
        Keys(tmp_path / "keys")


def test_a_name_stands_for_one_key(tmp_path: Path) -> None:
    """Or two would share a quota."""
    with pytest.raises(BadKeys, match="twice"):
        Keys(written(tmp_path / "keys", entry("a", "1"), entry("a", "2")))


@given(st.integers(1, 600), st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=60))
def test_no_key_sends_more_than_its_quota(per_minute: int, steps: list[tuple[float, int]]) -> None:
    """Over any time it has what it began with and what came since, and the images of the one request beyond."""
    now, sent = 0.0, 0
    quotas, key = Quotas(lambda: now), Key(name="a", sha256="", per_minute=per_minute)
    for pause, images in steps:
        now += pause
        wait = quotas.wait(key)
        if wait == 0:
            quotas.spend(key, images)
            sent += images
        else:
            assert wait <= (images + 5) * 60 / per_minute
    assert sent <= per_minute * (1 + now / 60) + 5
