"""The benchmark as a user calls it."""

import json
from pathlib import Path

from tests.acceptance.conftest import command_for


def test_a_measure_ends_with_a_table_a_line_and_a_page(tmp_path: Path) -> None:
    """`bench decode` prints a table to standard output, adds JSON lines, and leaves a page."""
    command = command_for(tmp_path / "home")
    lines = tmp_path / "lines.jsonl"
    ran = command("bench", "decode", "--size", "128x96", "--quick", "--json", lines)
    assert ran.status == 0, ran.err
    assert "decode alone, 128 x 96, one thread" in ran.out
    assert [json.loads(line)["bench"] for line in lines.read_text().splitlines()] == ["decode", "decode"]
    [page] = (tmp_path / "home" / "bench").glob("*/report.html")
    assert str(page) in ran.err


def test_what_cannot_be_measured_is_told_in_one_line(tmp_path: Path) -> None:
    """A folder without images and a side that is none are told, and nothing is started."""
    command = command_for(tmp_path / "home")
    empty = tmp_path / "empty"
    empty.mkdir()
    fetch = command("bench", "fetch", "--images", empty)
    assert (fetch.status, "no images" in fetch.line()) == (1, True), fetch.err
    compare = command("bench", "compare", "default", "fast", "--quick")
    assert (compare.status, "is no side" in compare.line()) == (2, True), compare.err
    assert not (tmp_path / "home" / "stack.json").exists()
