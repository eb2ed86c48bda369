"""What is installed: the wheel's contents, and the ranges of pyproject.toml against the versions of constraints.txt."""

import fnmatch
import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trapstream.local import doctor

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = SETTINGS["tool"]["setuptools"]
PROJECT = SETTINGS["project"]
NAMED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]
GPU = [Requirement(text) for text in PROJECT["optional-dependencies"]["gpu"]]


def _pins() -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, filter(None, lines))}


PINS = _pins()


def packed() -> tuple[set[str], set[str]]:
    """The packages of the wheel, and its files, as setuptools chooses them."""
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("[!.]*/**/__init__.py")}
    named = {".".join(folder.parts) for folder in folders}
    include = SETUPTOOLS["packages"]["find"]["include"]
    packages = {name for name in named if any(fnmatch.fnmatchcase(name, pattern) for pattern in include)}
    files: set[str] = set()
    for package in packages:
        folder = ROOT / package.replace(".", "/")
        data = SETUPTOOLS["package-data"].get(package.partition(".")[0], []) if "." not in package else []
        files |= {str(path.relative_to(ROOT)) for pattern in ("*.py", *data) for path in folder.glob(pattern)}
    return packages, files


def test_the_wheel_s_top_level_is_what_was_decided() -> None:
    """The rooms of the flow, the core's package, what Triton serves and the benchmark: no other name is taken."""
    packages, _ = packed()
    assert {package for package in packages if "." not in package} == set(doctor.OURS)
    assert not {package for package in packages if package.startswith("bench.tools")}, "tools of developers"
    commands = [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["trapstream.verbs"].values()]
    assert {command.partition(":")[0].rpartition(".")[0] for command in commands} <= packages


def test_the_wheel_has_every_file_of_its_packages() -> None:
    """What `run` and `bench` read beside code is packed too: templates, examples, the demonstration, Kafka's list."""
    _, files = packed()
    there = {path for name in doctor.OURS for path in (ROOT / name).rglob("*") if path.is_file()}
    kept = {str(path.relative_to(ROOT)) for path in there if "__pycache__" not in path.parts and path.suffix != ".md"}
    assert {path for path in kept if not path.startswith("bench/tools/")} <= files


def test_constraints_are_names_and_exact_versions() -> None:
    """A line is a name and one exact version: no address, no option, no range."""
    for pin in PINS.values():
        assert pin.url is None
        assert [specifier.operator for specifier in pin.specifier] == ["=="]


@pytest.mark.parametrize("wanted", [*NAMED, *GPU], ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_inside_its_range(wanted: Requirement) -> None:
    """Each dependency, for running, for development and for a GPU, has an exact version that its range allows."""
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


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None  # belongs to another version of Python
