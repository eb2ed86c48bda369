"""Rooms and doors: who may import whom, held by import-linter. The contracts stand in pyproject.toml."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES = ("trapstream", "producer", "consumer", "aggregator", "notifier", "bench")


def test_the_doors_are_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No module imports what its room may not: services meet in Kafka only, and the core knows none of them."""
    monkeypatch.chdir(ROOT)
    status = cli.lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def _modules(*more: str) -> dict[str, ast.Module]:
    """Every module of the packages, by its dotted name."""
    paths = [path for package in (*PACKAGES, *more) for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text()) for path in paths}


def test_every_pure_file_is_held_to_it() -> None:
    """The files that call themselves pure are those of the contract that forbids I/O, no more and no fewer."""
    (contract,) = (contract for contract in SETTINGS["contracts"] if contract["name"].startswith("Pure files"))
    found = {name for name, tree in _modules().items() if re.search(r"\bPure\b", ast.get_docstring(tree) or "")}
    assert found == set(contract["source_modules"])


def test_a_planted_upward_import_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the core that imports a room above it, a service that imports another, or a benchmark that
    imports a developers' tool, breaks the contracts."""
    for package in (*PACKAGES, "model_repository", "training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "trapstream/core/planted.py").write_text("from trapstream.jobs import manifest\n")
    (tmp_path / "consumer/planted.py").write_text("from producer import cursor\n")
    with (tmp_path / "bench/plan.py").open("a") as plan:
        plan.write("from bench.tools import same_answers\n")
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "trapstream.core.planted -> trapstream.jobs.manifest" in done.stdout
    assert "consumer.planted -> producer.cursor" in done.stdout
    assert "bench.plan -> bench.tools.same_answers" in done.stdout


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


def test_json_goes_through_one_room() -> None:
    """No file imports json from the standard library but those that need what the one room cannot give."""
    excused = {
        "model_repository.templates.cpu.model",  # runs inside Triton, where nothing of Trapstream is at hand
        "trapstream.jobs.folder", "trapstream.jobs.lists",  # names that are not UTF-8, and an array read as a stream
    }  # fmt: skip
    found = {
        name
        for name, tree in _modules("model_repository").items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(each.name == "json" for each in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "json")
    }
    assert found == excused
