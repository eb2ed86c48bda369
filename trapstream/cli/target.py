"""Which stack a verb talks to: the one of --home, or a broker named by --kafka."""

import functools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import click

from trapstream.cli import exits
from trapstream.core import result_store
from trapstream.core.messages import JobSpec, JobStatus
from trapstream.core.verdict import Load
from trapstream.local import control, disk_estimate
from trapstream.local.state import Stack


@dataclass(frozen=True)
class Target:
    """A broker and a result store."""

    kafka: str
    """host:port."""
    results: Path
    """The result store's folder."""
    models: Path
    """The home whose models jobs may name."""
    home: Path | None = None
    """The local stack's state folder; None where another broker was named."""
    triton: str | None = None
    """host:port of the local stack's Triton, by HTTP; None as above."""

    def shortage(self, images: int, manifest: int) -> str | None:
        """One line if a job of so many images has no room on the local stack's disk."""
        return disk_estimate.shortage(self.home, images, manifest) if self.home is not None else None

    async def load(self) -> Load | None:
        """How busy the services of the local stack are; None where another broker was named."""
        from trapstream.local import service_load  # noqa: PLC0415 - slow to import, and asked only while a job runs

        stack = control.running(self.home) if self.home is not None else None
        return await service_load.load(stack) if stack is not None else None

    async def waiting(self) -> dict[str, str]:
        """`service_load.waiting_models` of the local stack; none where another broker was named."""
        from trapstream.local import service_load  # noqa: PLC0415 - as in `load`

        stack = control.running(self.home) if self.home is not None else None
        return await service_load.waiting_models(stack) if stack is not None else {}

    def short_of_instances(self) -> list[str]:
        """One line for each model of the local stack of which instances died and are not there again yet."""
        stack = control.running(self.home) if self.home is not None else None
        return [model.words for model in stack.models if model.alive < model.instances] if stack is not None else []

    def photographs(self, spec: JobSpec, files: set[str]) -> dict[str, Path]:
        """Name in the result to the photograph on this machine, for those of `files` of the job that lie here."""
        lines = result_store.read_manifest(result_store.manifest_path(self.results, spec.job))
        found = {line.file: _local_path(line.uri) for line in lines if line.file in files}
        return {file: path for file, path in found.items() if path is not None}

    def copy_result(self, ended: JobStatus, output: Path | None) -> None:
        """Writes the job's result file to `output`, whole or not at all, or to standard output."""
        source = result_store.result_path(self.results, ended.job)
        try:
            with source.open("rb") as given:
                if output is None:
                    shutil.copyfileobj(given, sys.stdout.buffer)
                    return
                with result_store.whole_file(output) as written:
                    while block := given.read(1 << 20):
                        written.write(block)
        except OSError as error:
            raise exits.CommandError(
                f"the result could not be copied to {output or 'standard output'}: {error.strerror}; "
                f"it is safe in {source}"
            ) from error


def _local_path(uri: str) -> Path | None:
    """The local file of a reference; None for what lies elsewhere."""
    if not uri.startswith("file://"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --kafka and --results, and hands the verb a Target as `target`."""

    @functools.wraps(command)
    def wrapped(kafka: str | None, folder: Path | None, **values: Any) -> Any:
        return command(target=find(kafka, folder), **values)

    return stack_options(wrapped)


def stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --kafka as `kafka` and --results as `folder`, for a verb that does not always need a target."""
    broker = click.option("--kafka", metavar="HOST:PORT", help="A broker. Default: the local stack's.")
    store_option = click.option(
        "--results",
        "folder",
        type=click.Path(path_type=Path),
        help="The result store's folder. Default: the stack's.",
    )
    return broker(store_option(command))


def of_stack(stack: Stack) -> Target:
    """The target that a running stack is."""
    home = Path(stack.home)
    return Target(stack.endpoints["kafka"], home / "results", home, home, stack.endpoints["triton-http"])


def find(kafka: str | None, folder: Path | None) -> Target:
    """The target that the options name, else the stack of --home. NotUp where there is none."""
    home: Path = click.get_current_context().find_root().obj.home
    if kafka is not None:
        return Target(kafka, folder or home / "results", models=home)
    stack = control.running(home)
    if stack is None or stack.state != "up":
        raise exits.NotUp("no stack is up; start one with `trapstream up -d`, or name a broker with --kafka")
    found = of_stack(stack)
    return replace(found, results=folder or found.results)
