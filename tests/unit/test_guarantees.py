"""docs/contributors/guarantees.md names a test for each promise, and each exists."""

import re
from pathlib import Path

from tests.unit.test_docs import page, rows

ROOT = Path(__file__).parents[2]


def test_every_promise_is_shown() -> None:
    """Each row of the page names a test, and each test that it names is there."""
    text = page("docs/contributors/guarantees.md")
    for promise, cells in rows(text).items():
        assert "::test_" in cells[1], promise
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert missing == []


def test_what_is_named_as_the_means_exists() -> None:
    """Each file that keeps a promise is there, and each name that is said to be in it."""
    for name, path in re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", page("docs/contributors/guarantees.md")):
        assert name.rpartition(".")[2] in (ROOT / path).read_text(), (name, path)
