"""What is deployed: the versions that the stack may serve, the default one of each name, and the default before it.

It stands in HOME/deployed.json, which is replaced as a whole. Whoever changes it holds `alone` meanwhile, so that
two commands and the supervisor do not undo each other's work.
"""

import contextlib
import fcntl
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import whole_file

Runtime = Literal["onnxruntime", "openvino", "openvino-bfloat16"]
"""What can run a bundle without a GPU, behind Triton's Python backend. The name decides every bit of the answers."""
RUNTIME: Runtime = "onnxruntime"
"""Where none was chosen: it gives the same answers on every machine of a kind, whatever is faster on the day."""
PRECISION: dict[Runtime, str] = {"onnxruntime": "float32", "openvino": "float32", "openvino-bfloat16": "bfloat16"}
"""What each computes in."""


class DeployedError(TrapstreamError):
    """The file cannot be read or written. One line that says what to do."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is served."""

    runtime: Runtime = RUNTIME


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The deployed versions of one name."""

    default: str | None = None
    """What jobs get that name no version; None while the first one is not known to work yet."""
    previous: str | None = None
    """The default before this one, for a rollback."""
    untried: bool = False
    """Whether the default was noted while no stack was up, and has not answered an image since."""
    versions: dict[str, Deployment] = {}
    """All that were deployed. Those that are not the default are served while an open job needs them."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    v: Literal[1] = 1
    models: dict[str, Versions] = {}
    """By name."""

    def of(self, name: str) -> Versions:
        """What is deployed of this name."""
        return self.models.get(name, Versions())

    def how(self, name: str, version: str) -> Deployment:
        """How a version is served."""
        return self.of(name).versions.get(version, Deployment())

    def with_version(self, name: str, version: str, deployment: Deployment) -> "Deployed":
        """With this version, not as the default."""
        before = self.of(name)
        return self._with(name, msgspec.structs.replace(before, versions={**before.versions, version: deployment}))

    def with_default(self, name: str, version: str, untried: bool = False) -> "Deployed":
        """With this version as the default of its name, and the old default as the one before it."""
        before = self.of(name)
        if before.default == version:
            return self._with(name, msgspec.structs.replace(before, untried=untried))
        versions = {version: Deployment(), **before.versions}
        return self._with(name, Versions(default=version, previous=before.default, untried=untried, versions=versions))

    def without_default(self, name: str) -> "Deployed":
        """With no default of this name: one that was never tried, and does not work."""
        return self._with(name, msgspec.structs.replace(self.of(name), default=None, untried=False))

    def tried(self) -> set[tuple[str, str]]:
        """(name, version) of the defaults that are known to work."""
        return {(name, each.default) for name, each in self.models.items() if each.default and not each.untried}

    def wanted(self, in_use: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """(name, version) of all that must be served: the defaults, and what was deployed and is `in_use` by a job."""
        listed = {(name, version) for name, known in self.models.items() for version in known.versions}
        defaults = {(name, known.default) for name, known in self.models.items() if known.default is not None}
        return defaults | (listed & set(in_use))

    def _with(self, name: str, versions: Versions) -> "Deployed":
        return msgspec.structs.replace(self, models={**self.models, name: versions})


def deployed_file(home: Path) -> Path:
    """Where it stands."""
    return home / "deployed.json"


def read(home: Path) -> Deployed:
    """What is deployed in this home; nothing where nothing ever was. DeployedError for a damaged file."""
    path = deployed_file(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Deployed)
    except FileNotFoundError:
        return Deployed()
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise DeployedError(f"{path}: {error}; move it away, and deploy your models again") from error


def write(home: Path, deployed: Deployed) -> None:
    """Replaces the file. DeployedError where the disk does not take it: then the old one stands."""
    try:
        with whole_file(deployed_file(home)) as file:
            file.write(msgspec.json.format(msgspec.json.encode(deployed), indent=1) + b"\n")
    except OSError as error:
        raise DeployedError(f"{deployed_file(home)} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def alone(home: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Holds what is deployed against others until the end of the block.

    Where somebody else holds it, `wait` is called and it waits; without `wait` it gives False at once.
    """
    home.mkdir(parents=True, exist_ok=True)
    with deployed_file(home).with_suffix(".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                yield False
                return
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield True
