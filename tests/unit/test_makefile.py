"""The Makefile, with tools that only note what they are asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import patient

ROOT = Path(__file__).parents[2]
NOTE = """#!/usr/bin/env bash
printf '%s|' "$(basename "$0")" "$@" >>calls; echo >>calls
"""


class Tree:
    """A copy of what `make` reads, with an environment that looks installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run", "deploy/find-python"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for tool in ("python", "trapstream", "ruff", "lint-imports"):
            self.tool(folder / ".venv/bin" / tool, NOTE)
        (folder / ".venv/.installed").touch()

    def tool(self, path: Path, text: str) -> None:
        """Writes a program."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs a command in the tree."""
        given = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
        return subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=given | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )

    def calls(self) -> list[list[str]]:
        """What the tools were asked since the last time."""
        noted = self.folder / "calls"
        lines = noted.read_text().splitlines() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return [line.split("|")[:-1] for line in lines]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree whose name holds a space."""
    folder = tmp_path / "a tree"
    folder.mkdir()
    return Tree(folder)


def test_make_alone_explains_itself(tree: Tree) -> None:
    """`make` lists every target with its line, and does nothing."""
    ended = tree.run("make")
    assert ended.returncode == 0
    targets = "setup demo test unit lint format chaos chaos-live bench bench-fold rtx train clean"
    for target in targets.split():
        assert any(line.split()[:1] == [target] and len(line.split()) > 2 for line in ended.stdout.splitlines())
    assert tree.calls() == []


def test_an_installed_environment_costs_nothing(tree: Tree) -> None:
    """A second set-up runs nothing."""
    assert tree.run("make", "setup").returncode == 0
    assert tree.calls() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_dependency_is_installed(tree: Tree, name: str) -> None:
    """When the dependencies change they are installed again, in their exact versions."""
    os.utime(tree.folder / ".venv/.installed", (0, 0))
    (tree.folder / name).touch()
    assert tree.run("make", "setup").returncode == 0
    (install,) = (call for call in tree.calls() if "install" in call)
    assert install[install.index("--constraint") + 1] == "constraints.txt"
    assert not (tree.folder / ".venv/.installing").exists()


def test_an_interrupted_set_up_begins_anew(tree: Tree) -> None:
    """Where pip was cut short the environment is made again, and nothing half installed is kept."""
    (tree.folder / ".venv/.installed").unlink()
    (tree.folder / ".venv/.installing").touch()
    half = tree.folder / ".venv/lib/half-a-package"
    half.mkdir(parents=True)
    made = 'case "$*" in *ensurepip*) exit 0 ;; "-m venv --clear "*) rm -rf .venv; mkdir -p .venv/bin; '
    made += 'cp "$0" .venv/bin/python ;; *) echo "$*" >>installs ;; esac\n'
    tree.tool(tree.folder / "tools/python3.11", f"#!/usr/bin/env bash\n{made}")
    ended = tree.run("make", "setup", PATH=f"{tree.folder}/tools:{os.environ['PATH']}")
    assert ended.returncode == 0, ended.stderr
    assert not half.exists()
    assert "--constraint constraints.txt" in (tree.folder / "installs").read_text()


def test_a_failed_set_up_is_no_set_up(tree: Tree) -> None:
    """Where pip fails there is no stamp, so that nothing runs with half of the packages."""
    (tree.folder / ".venv/.installed").unlink()
    tree.tool(tree.folder / ".venv/bin/python", '#!/usr/bin/env bash\n[[ "$*" != *install* ]]\n')
    assert tree.run("make", "unit").returncode != 0
    assert not (tree.folder / ".venv/.installed").exists()
    assert (tree.folder / ".venv/.installing").exists()


def test_no_python_is_one_clear_line(tree: Tree) -> None:
    """Without a Python that fits the set-up says which one is needed, and how to name another."""
    shutil.rmtree(tree.folder / ".venv")
    for name in ("python3", "python3.11", "python3.12"):
        tree.tool(tree.folder / "tools" / name, "#!/bin/sh\nexit 1\n")
    ended = tree.run("make", "setup", PATH=f"{tree.folder}/tools:/usr/bin:/bin")
    assert ended.returncode != 0
    assert "Trapstream needs Python 3.11 or 3.12" in ended.stderr
    assert "make PYTHON=" in ended.stderr


def test_the_demo_draws_its_scenes_once(tree: Tree) -> None:
    """The first demo draws 300 scenes and runs the job; the second runs the job on what is there."""
    job = ["trapstream", "run", "-o", "demo/results.json", "--", "demo/images"]
    for first in (True, False):
        ended = tree.run("make", "demo")
        assert ended.returncode == 0, ended.stderr
        *drawn, ran = tree.calls()
        assert ran == job
        assert len(drawn) == first
        if first:
            assert drawn[0][-5:] == ["demo/images", "--count", "300", "--size", "1280x960"]


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ("~/photos", "{home}/photos"),
        ("~/my photos; it's $HOME", "{home}/my photos; it's $HOME"),
        ("/srv/a  b", "/srv/a  b"),
        ("--help", "--help"),
    ],
)
def test_the_demo_takes_any_folder(tree: Tree, images: str, found: str) -> None:
    """IMAGES may begin with ~ and hold spaces, quotes and dollars; OUT as well."""
    out = "~/a result.json"
    ended = tree.run("make", "demo", HOME=str(tree.folder), IMAGES=images, OUT=out)
    assert ended.returncode == 0, ended.stderr
    home = str(tree.folder)
    (ran,) = tree.calls()
    assert ran == ["trapstream", "run", "-o", f"{home}/a result.json", "--", found.format(home=home)]


def test_a_job_that_fails_is_a_demo_that_fails(tree: Tree) -> None:
    """The status of `trapstream run` is not lost."""
    tree.tool(tree.folder / ".venv/bin/trapstream", "#!/bin/sh\nexit 5\n")
    assert tree.run("make", "demo").returncode != 0


def test_continuous_integration_runs_make_test(tree: Tree, tmp_path: Path) -> None:
    """.ci/run does what `make test` does, from any folder and without a terminal, and pytest comes last."""
    ended = tree.run(str(tree.folder / ".ci/run"), cwd=tmp_path, CI="true")
    assert ended.returncode == 0, ended.stderr
    calls = tree.calls()
    assert ["ruff", "check", "."] in calls
    assert ["lint-imports"] in calls
    assert calls[-1][:3] == ["python", "-m", "pytest"]


def test_a_finding_of_the_linter_fails_the_run(tree: Tree) -> None:
    """Where style or types are not clean, .ci/run fails."""
    tree.tool(tree.folder / ".venv/bin/ruff", "#!/bin/sh\nexit 1\n")
    assert tree.run(str(tree.folder / ".ci/run")).returncode != 0
