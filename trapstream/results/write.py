"""The result file: MegaDetector's batch format 1.6, written as a stream. Pure but for the `out` it writes to.

A new output format is another file like this one, beside it: aggregator/ending.py and partial.py call `write_result`.

The bytes depend on the job's spec, its account and its entries alone: no time, no host, no job id. So two runs over
the same images give the same file, whatever was killed on the way.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Protocol

from trapstream import __version__
from trapstream.core import json_codec
from trapstream.core.messages import Counts, JobSpec, ModelInfo
from trapstream.core.states import images_of

FORMAT_VERSION = "1.6"
IMAGES_LINE = b'"images": ['
"""The line after which each line is one entry."""
_TOGETHER = 2_000
"""Entries written in one call."""


class FileState(StrEnum):
    """What a file says of its job."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PARTIAL = "partial"


class Sink(Protocol):
    """Where a file's bytes go."""

    def write(self, data: bytes, /) -> object:
        """Appends `data`."""


def file_state(spec: JobSpec, done: int) -> FileState:
    """What the file of a job with `done` entries says. With every image there it is completed, cancelled or not."""
    if spec.total is not None and done >= spec.total:
        return FileState.COMPLETED
    if spec.failed is not None:
        return FileState.FAILED
    return FileState.CANCELLED if spec.cancelled else FileState.PARTIAL


def write_result(spec: JobSpec, counts: Counts, entries: Iterable[bytes], out: Sink) -> None:
    """Writes the file of a job. `entries`: JSON objects in the order of seq, `counts.done` of them.

    ValueError if there are not as many: the account in the file's head would be false.
    """
    out.write(b'{\n"info": ' + json_codec.encode(info(spec, counts)) + b",\n")
    out.write(b'"detection_categories": ' + json_codec.encode(spec.model.classes) + b",\n" + IMAGES_LINE)
    written = 0
    for some in _batches(entries):
        out.write((b",\n" if written else b"\n") + b",\n".join(some))
        written += len(some)
    out.write(b"\n]\n}\n")
    if written != counts.done:
        raise ValueError(f"{written} entries for an account of {counts.done}")


def info(spec: JobSpec, counts: Counts) -> dict[str, object]:
    """The file's `info`. The account in custom_metadata is what `verify` holds the entries against."""
    state = file_state(spec, counts.done)
    account: dict[str, object] = {
        "version": __version__,
        "complete": state is FileState.COMPLETED,
        "state": str(state),
        "images": images_of(spec, counts.done),
        "detected": counts.detected,
        "empty": counts.empty,
        "failed": dict(sorted(counts.failed.items())),
        "threshold": float(spec.threshold),
        "manifest_sha256": spec.manifest_sha256,
    }
    if isinstance(spec.left_out, dict):
        account["left_out"] = dict(sorted(spec.left_out.items()))
    return {
        "format_version": FORMAT_VERSION,
        "detector": detector_name(spec.model),
        "detector_metadata": {
            "megadetector_version": _megadetector_version(spec.model),
            "typical_detection_threshold": float(spec.model.typical_threshold),
            "conservative_detection_threshold": float(spec.model.conservative_threshold),
            "image_size": spec.model.image_size,
            "stride": spec.model.stride,
            "model": spec.model.name,
            "model_version": spec.model.version,
            "model_sha256": spec.model.sha256,
        },
        "custom_metadata": {"trapstream": account},
    }


def detector_name(model: ModelInfo) -> str:
    """A file name as MegaDetector's own: tools choose their thresholds by it."""
    return f"{model.name}_v{model.version.removeprefix('v')}.onnx"


def _megadetector_version(model: ModelInfo) -> str:
    """Only a model that is named as MegaDetector's are has a version of MegaDetector."""
    known = re.match(r"(?i)(md|mdv\d.*|megadetector.*)\Z", model.name)
    return f"v{model.version.removeprefix('v')}" if known else "unknown"


def _batches(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    stream = iter(entries)
    while some := list(itertools.islice(stream, _TOGETHER)):
        yield some
