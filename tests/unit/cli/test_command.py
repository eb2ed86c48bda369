"""The command's edges: statuses, one line instead of a traceback, and what goes to which stream."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from trapstream import __version__
from trapstream.cli import main as command
from trapstream.cli.verbs import Verbs
from trapstream.core.errors import Fatal, Retryable
from trapstream.local.state import StackError


def failing(error: BaseException) -> click.Command:
    @click.command()
    def verb() -> None:
        raise error

    return verb


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StackError("no port"), 3),
        (Fatal("no disk"), 3),
        (Retryable("kafka is away"), 1),
        (ValueError("two\nlines"), 1),
        (FileNotFoundError(2, "No such file or directory", "a.json"), 1),
        (click.UsageError("what?"), 2),
        (click.ClickException("no"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_an_error_is_a_line_and_a_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: object,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TRAPSTREAM_HOME", str(tmp_path))
    monkeypatch.setattr(Verbs, "get_command", lambda *_: failing(error))
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert command.main(["ps"]) == status
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    if isinstance(error, (StackError, Fatal, Retryable, ValueError, FileNotFoundError)):
        assert said.err.count("\n") == 1
        assert said.err.startswith("trapstream: ")


def test_an_unexpected_error_leaves_its_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAPSTREAM_HOME", str(tmp_path))
    monkeypatch.setattr(Verbs, "get_command", lambda *_: failing(ValueError("odd")))
    command.main(["ps"])
    assert "cli.log" in capfd.readouterr().err
    with open(f"{tmp_path}/logs/cli.log") as file:  # noqa: PTH123 - a test
        assert "ValueError: odd" in file.read()


@pytest.mark.parametrize("verb", [*command.VERBS, "bench"])
def test_every_verb_of_the_table_exists_and_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([verb, "--help"]) == 0
    assert "Usage: trapstream" in capsys.readouterr().out


def test_a_registered_verb_is_one_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that an installed package registers comes after those of the table, and is loaded when it is used."""
    about = tmp_path / "rooms-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rooms\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[a.group]\nfly = rooms_above:fly\n")
    monkeypatch.syspath_prepend(tmp_path)
    verbs = Verbs(table={"ps": "trapstream.cli.stack:ps"}, registered="a.group")
    context = click.Context(verbs)
    assert verbs.list_commands(context) == ["ps", "fly"], "nothing is imported for a list: there is no such module yet"
    (tmp_path / "rooms_above.py").write_text("import click\n\n\n@click.command()\ndef fly() -> None: ...\n")
    command_ = verbs.get_command(context, "fly")
    assert command_ is not None and command_.name == "fly"
    assert verbs.get_command(context, "swim") is None


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"trapstream {__version__}\n"


@pytest.mark.parametrize("arguments", [["fly"], ["ps", "--what"], ["logs", "nobody"]])
def test_wrong_usage(arguments: list[str], tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--home", str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_a_verb_imports_what_it_needs_alone() -> None:
    """Verbs that only read start without the detector's side: it takes longer to import than they take to answer."""
    code = "import sys, trapstream.cli.main, trapstream.cli.jobs, trapstream.cli.stack; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "numpy", "obstore", "onnx", "tritonclient"} & set(ran.stdout.split())
