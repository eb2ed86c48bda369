"""What is installed: the ranges of pyproject.toml against the exact versions of constraints.txt."""

import fnmatch
import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trapstream.local.state import SERVICES

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
NAMED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]


def _pins() -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, filter(None, lines))}


PINS = _pins()


def test_constraints_are_names_and_exact_versions() -> None:
    """A line is a name and one exact version: no address, no option, no range."""
    for pin in PINS.values():
        assert pin.url is None
        assert [specifier.operator for specifier in pin.specifier] == ["=="]


@pytest.mark.parametrize("wanted", NAMED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_inside_its_range(wanted: Requirement) -> None:
    """Each dependency, for running and for development, has an exact version that its range allows."""
    (specifier,) = PINS[canonicalize_name(wanted.name)].specifier
    assert wanted.specifier.contains(specifier.version)


def test_what_dependencies_need_is_pinned_too() -> None:
    """Nothing that a dependency brings along is left to the day of the installation."""
    missing, seen = set[str](), set[str]()
    waiting = [(canonicalize_name(wanted.name), frozenset(wanted.extras)) for wanted in NAMED]
    while waiting:
        name, extras = waiting.pop()
        seen.add(name)
        if name not in PINS:
            missing.add(name)
            continue
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            for extra in extras | {""}:
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    inner = (canonicalize_name(needed.name), frozenset(needed.extras))
                    if inner[0] not in seen or inner[1]:
                        waiting.append(inner)
                    break
    assert not missing - {"setuptools", "pip", "wheel"}


def test_the_tests_run_with_the_pinned_versions() -> None:
    """What is installed here is what constraints.txt says."""
    differing = {
        name: found
        for name, pin in PINS.items()
        if (found := _installed(name)) is not None and not pin.specifier.contains(found)
    }
    assert not differing


def test_the_wheel_has_what_its_commands_run_and_no_developers_tool() -> None:
    """The packages of the command, its services and its registered verbs are in it; tools and training are not."""
    find = SETTINGS["tool"]["setuptools"]["packages"]["find"]
    names = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("[!.]*/**/__init__.py")}
    wheel = {
        name
        for name in names
        if any(fnmatch.fnmatch(name, each) for each in find["include"])
        and not any(fnmatch.fnmatch(name, each) for each in find["exclude"])
    }
    commands = [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["trapstream.verbs"].values()]
    assert {command.partition(":")[0].rpartition(".")[0] for command in commands} <= wheel
    assert {"trapstream.scenes", *SERVICES} <= wheel
    assert {name for name in names - wheel if "." not in name} == {"training", "tests"}
    assert "bench.tools" in names - wheel


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None  # belongs to another version of Python
