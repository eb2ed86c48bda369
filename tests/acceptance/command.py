"""The command as a user calls it, and what a test asks of it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import patient

SECONDS = 40.0
"""A command that takes longer hangs, on a quick machine that does nothing else."""


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    status: int
    out: str
    err: str

    def line(self) -> str:
        """The last line for the user, for messages of assertions."""
        return (self.err.strip() or self.out.strip()).splitlines()[-1] if self.err.strip() or self.out.strip() else ""


@dataclass(frozen=True)
class Command:
    """`trapstream --home HOME`, with its environment."""

    home: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str | Path, stdin: str | bytes = b"", cwd: Path | None = None) -> Ran:
        """Runs the command to its end. A traceback is never the answer, nor a word of the event loop."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.arguments(*arguments), input=given, capture_output=True, env=self.environment, cwd=cwd,
            timeout=patient(SECONDS), check=False,
        )  # fmt: skip
        ran = Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        assert "Traceback" not in ran.out + ran.err and "asyncio" not in ran.err, ran.err
        return ran

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Starts the command and returns at once."""
        return subprocess.Popen(
            self.arguments(*arguments), text=True, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def arguments(self, *arguments: str | Path) -> list[str]:
        """The whole command line."""
        return [
            sys.executable,
            "-m",
            "trapstream.cli",
            "--home",
            str(self.home),
            *(os.fspath(each) for each in arguments),
        ]

    def processes(self) -> dict[str, dict[str, Any]]:
        """`ps --json` by name."""
        listed = json.loads(self("ps", "--json").out)
        return {process["name"]: process for process in listed["processes"]}

    def status(self, job: str) -> dict[str, Any]:
        """`status JOB --json`."""
        answer: dict[str, Any] = json.loads(self("status", job, "--json").out)
        return answer
