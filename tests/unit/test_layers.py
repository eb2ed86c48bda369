"""Rooms and doors: who may import whom, held by import-linter. The contracts stand in pyproject.toml."""

import ast
import tomllib
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PURE = {
    "changes", "lanes", "offsets", "fold", "ledger", "lost", "boxes", "manifest", "messages", "states",
    "event_filter", "event_format", "job_filter", "job_sequence", "webhook_rules",
}  # fmt: skip


def test_the_doors_are_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No module imports what its room may not: services meet in Kafka only, and the core knows none of them."""
    monkeypatch.chdir(ROOT)
    status = cli.lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_every_pure_file_is_held_to_it() -> None:
    """The files that hold the rules are all in the contract that forbids I/O."""
    (contract,) = (contract for contract in SETTINGS["contracts"] if contract["name"].startswith("Pure files"))
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("trapstream/core", "producer", "consumer", "aggregator", "notifier")
        for path in (ROOT / package).glob("*.py")
        if path.stem in PURE
    }
    assert {name.rpartition(".")[2] for name in found} == PURE
    assert found <= set(contract["source_modules"])


def test_settings_alone_read_the_environment() -> None:
    """No service looks into the environment by itself: what it is told stands in its settings."""
    readers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("trapstream/core", "producer", "consumer", "aggregator", "notifier")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.stem != "faults"  # for tests only, and bound before a service has settings
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
    ]
    assert readers == []
