"""Kafka's jars in the cache: downloaded once, by one process, checked, and whole or absent.

`kafka-jars.lock` pins every jar with size and SHA-256, as jgo resolved `org.apache.kafka:kafka_2.13:4.4.0` and the
matching `log4j-slf4j-impl`. Resolving both at once gives a wrong set: log4j's own parent pins an old kafka-clients.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jgo.maven
import stamina
from jgo.constants import MAVEN_CENTRAL_URL

from trapstream.local.state import Progress, StackError

KAFKA_VERSION = "4.4.0"
_BROKEN = (OSError, RuntimeError)
"""What a bad connection looks like through jgo: a RuntimeError is its word for any answer other than 200."""
_ATTEMPTS = 8


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """Its name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def pinned() -> tuple[Jar, ...]:
    """The jars of the lock file, in its order."""
    text = resources.files("trapstream.local").joinpath("kafka-jars.lock").read_text()
    jars = []
    for line in text.splitlines():
        coordinate, size, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, int(size), sha256))
    return tuple(jars)


def folder(cache: Path) -> Path:
    """Where the complete set lies. The folder exists only when every jar in it has been checked."""
    return cache / f"kafka-{KAFKA_VERSION}"


def ensure(cache: Path, progress: Progress, repository: str | None = None) -> Path:
    """The folder with all jars; downloads them first where they are missing. Blocks.

    A second process waits for the first. `repository` is another Maven repository to ask. Raises StackError.
    """
    done = folder(cache)
    if done.is_dir():
        return done
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "kafka.lock", progress):
        if not done.is_dir():
            part = cache / f"kafka-{KAFKA_VERSION}.part"
            _download_all(part, progress, repository or MAVEN_CENTRAL_URL)
            (part / "jars").replace(done)
            shutil.rmtree(part, ignore_errors=True)
    return done


def _download_all(part: Path, progress: Progress, repository: str) -> None:
    jars, finished = pinned(), part / "jars"
    finished.mkdir(parents=True, exist_ok=True)
    # Jars that an interrupted run had finished and checked are kept; what it had begun is not.
    shutil.rmtree(part / "begun", ignore_errors=True)
    context = jgo.maven.MavenContext(
        repo_cache=part / "begun", local_repos=[], remote_repos={"central": repository}, timeout=20
    )
    total, there, hopeless = sum(jar.size for jar in jars), 0, threading.Event()
    progress(f"kafka: downloading {total / 1e6:.0f} MB (Kafka {KAFKA_VERSION}, {len(jars)} jars) ...")

    def fetch(jar: Jar) -> int:
        if not (finished / jar.filename).is_file():
            _fetch(context, jar, finished / jar.filename, progress, hopeless)
        return jar.size

    with ThreadPoolExecutor(4, thread_name_prefix="jars") as pool:
        try:
            for done in as_completed([pool.submit(fetch, jar) for jar in jars]):
                before, there = there, there + done.result()
                if before * 4 // total < there * 4 // total:
                    progress(f"kafka: downloaded {there / 1e6:.0f} of {total / 1e6:.0f} MB")
        except _BROKEN as error:
            hopeless.set()
            pool.shutdown(cancel_futures=True)
            raise StackError(
                f"Kafka's jars could not be downloaded; check the connection and start again, what is complete is kept "
                f"({(str(error).splitlines() or [type(error).__name__])[0][:200]})"
            ) from error


def _fetch(
    context: jgo.maven.MavenContext, jar: Jar, target: Path, progress: Progress, hopeless: threading.Event
) -> None:
    """One jar, checked, then given its name. A cut connection is tried again with back-off, unless another jar's was
    given up."""
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    begun: Path = artifact.cached_path
    again = stamina.retry_context(
        on=lambda error: isinstance(error, _BROKEN) and not hopeless.is_set(),
        attempts=_ATTEMPTS, timeout=150, wait_initial=0.5, wait_max=15,
    )  # fmt: skip
    for attempt in again:
        with attempt:
            if attempt.num > 1:
                progress(f"kafka: the connection broke, trying again ({jar.artifact}, {attempt.num} of {_ATTEMPTS})")
            begun.unlink(missing_ok=True)  # jgo would take a half file for a whole one
            artifact.resolve()
            digest = hashlib.sha256(begun.read_bytes()).hexdigest()
            if digest != jar.sha256:
                raise OSError(f"{jar.filename} is not what was expected")
            begun.replace(target)


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """One download at a time for this user, whichever stack wants it. The lock ends with its process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("kafka: another process is downloading it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """`python -m trapstream.local.jars FOLDER`: a process of its own, so that it can be stopped at any moment."""
    stamina.instrumentation.set_on_retry_hooks([])  # every further attempt is reported as progress
    try:
        ensure(Path(sys.argv[1]), lambda line: print(line, flush=True), os.environ.get("TRAPSTREAM_MAVEN"))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
