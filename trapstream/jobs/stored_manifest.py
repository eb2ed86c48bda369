"""A job's manifest in the result store: written from SOURCEs, or an earlier job's given to a second one."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from trapstream.core import messages
from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import manifest_path, whole_file
from trapstream.jobs import kinds, sources
from trapstream.jobs.manifest import Notes

_BATCH = 1000
_LEAVE_SECONDS = 2.0


class SubmitError(TrapstreamError):
    """The job could not be made or changed. The text is one line that says what to do."""


@dataclass(frozen=True)
class Manifest:
    """A stored manifest."""

    images: int
    sha256: str
    """Of its bytes."""
    notes: tuple[str, ...]
    """The entries that were left out, a line for each kind."""
    left_out: dict[str, int]
    """The files of folders and buckets among them, by kind."""


async def make_manifest(
    results: Path,
    job: str,
    texts: Sequence[str],
    progress: Callable[[int], None] = lambda _: None,
    anyway: bool = False,
) -> Manifest:
    """Reads the SOURCEs `texts` into the job's manifest in the result store, off the event loop.

    `progress` takes the number of images so far, on the event loop; `anyway` as in `sources`. SourceError for a SOURCE
    that cannot be read, SubmitError for a store that cannot be written: no manifest is left then.
    """
    loop = asyncio.get_running_loop()
    left = threading.Event()
    made: concurrent.futures.Future[Manifest] = concurrent.futures.Future()

    def tick(count: int) -> None:
        if left.is_set():
            raise SubmitError("given up")  # nobody hears this: it ends the thread
        loop.call_soon_threadsafe(progress, count)

    def work() -> None:
        made.set_running_or_notify_cancel()
        try:
            made.set_result(write_manifest(results, job, texts, tick, anyway))
        except BaseException as error:  # whatever it is, it belongs to the caller who waits
            made.set_exception(error)

    # A daemon: a caller who leaves need not wait for a standard input that does not end.
    thread = threading.Thread(target=work, daemon=True, name="manifest")
    thread.start()
    try:
        return await asyncio.wrap_future(made)
    except asyncio.CancelledError:
        left.set()
        await asyncio.to_thread(thread.join, _LEAVE_SECONDS)  # so that it takes its half-made file away
        raise


def write_manifest(
    results: Path, job: str, texts: Sequence[str], tick: Callable[[int], None], anyway: bool = False
) -> Manifest:
    """As `make_manifest`, in this thread. An error raised by `tick` ends it."""
    notes = Notes()
    lines = sources.manifest_lines(sources.open_sources(texts, anyway), notes)
    lines = chain(list(islice(lines, 1)), lines)  # a SOURCE without images leaves no trace in the store
    images = 0
    try:
        with whole_file(manifest_path(results, job)) as file:
            while batch := list(islice(lines, _BATCH)):
                file.write(b"".join([messages.encode(line) + b"\n" for line in batch]))
                images += len(batch)
                tick(images)
            digest = file.sha256
    except OSError as error:
        raise SubmitError(
            f"cannot write the manifest to {results}: {error.strerror}; make room or permit it, and submit again"
        ) from error
    return Manifest(images, digest, tuple(notes.lines()), kinds.account(notes.counts))


def reuse_manifest(results: Path, earlier: str, job: str) -> None:
    """Gives an earlier job's stored manifest to `job` too. SubmitError if it is not there or cannot be copied.

    It is never written again, so a link does, where the disk has links.
    """
    stored, manifest = manifest_path(results, earlier), manifest_path(results, job)
    try:
        try:
            manifest.hardlink_to(stored)
        except FileNotFoundError:
            raise
        except OSError:
            with stored.open("rb") as source, whole_file(manifest) as file:
                while block := source.read(1 << 20):
                    file.write(block)
    except OSError as error:
        raise SubmitError(
            f"the manifest {stored} cannot be used again: {error.strerror}; submit its images as a new job"
        ) from error
