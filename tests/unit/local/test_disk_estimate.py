"""What a job needs of the disk, held to what messages, stores and files really take."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.unit.values import MODEL
from trapstream.core import messages
from trapstream.core.messages import ImageRef, ImageResult, Outcome, StageTimes
from trapstream.core.result_store import ManifestLine
from trapstream.local import disk_estimate, processes
from trapstream.results.fold import Result
from trapstream.results.fold_store import Store

COUNT = 5_000
JOB = "spring-2026-20260101-120000-abcdef"
BOX = {"category": "1", "conf": 0.123, "bbox": [0.1234, 0.2345, 0.3456, 0.4567]}


def _entry(seq: int) -> bytes:
    return msgspec.json.encode({"file": f"site 7/camera 12/IMG_{seq:06}.JPG", "detections": [BOX] * 7})


def _line(seq: int) -> ManifestLine:
    name = f"site 7/camera 12/IMG_{seq:06}.JPG"
    return ManifestLine(file=name, uri=f"file:///srv/archive/{name}")


def _results() -> list[ImageResult]:
    return [
        ImageResult(
            job=JOB, seq=seq, outcome=Outcome.DETECTED, reason=None, entry=msgspec.Raw(_entry(seq)),
            model=MODEL.label, ms=StageTimes(fetch=12.34, decode=123.45, detect=1234.56),
        )
        for seq in range(COUNT)
    ]  # fmt: skip


def _in_log(values: list[bytes], key: bytes | None) -> int:
    """Bytes in Kafka's log, in batches of a hundred."""
    total = 0
    for first in range(0, len(values), 100):
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=1, producer_epoch=0, base_sequence=0,
            batch_size=1 << 20,
        )  # fmt: skip
        for number, value in enumerate(values[first : first + 100]):
            builder.append(number, 1_700_000_000_000, key, value, [])
        total += len(builder.build())
    return total


def test_estimates_are_measured(tmp_path: Path) -> None:
    """Each part of the estimate is at least what 5,000 images with seven boxes each take, and at most 1.5 times it."""
    manifest = sum(len(messages.encode(_line(seq))) + 1 for seq in range(COUNT))
    refs = [
        messages.encode(ImageRef(job=JOB, seq=seq, file=_line(seq).file, uri=_line(seq).uri)) for seq in range(COUNT)
    ]
    store = Store(tmp_path)
    store.fold([Result(JOB, seq, "detected", _entry(seq)) for seq in range(COUNT)], COUNT)
    store.close()
    need = disk_estimate.estimate(COUNT, manifest)
    for estimated, taken in (
        (need.references, _in_log(refs, None)),
        (need.results, _in_log([messages.encode(result) for result in _results()], JOB.encode())),
        (need.store, disk_estimate.used(tmp_path)),
        (need.file, sum(len(_entry(seq)) + 2 for seq in range(COUNT))),
    ):
        assert taken <= estimated <= 1.5 * taken, (estimated, taken)


def test_a_job_without_room_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the images, what they need, what is free and what to do; a job that fits is let through."""
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert disk_estimate.shortage(tmp_path, 100_000, 10_000_000) is None
    line = disk_estimate.shortage(tmp_path, 3_000_000, 300_000_000)
    assert line is not None
    assert "3,000,000 images" in line and "5.0 GB are free" in line and "\n" not in line


def test_logs_are_bounded_while_their_writer_goes_on(tmp_path: Path) -> None:
    """A log above the limit is set aside and emptied; who has it open goes on at its new beginning."""
    path = tmp_path / "consumer.log"
    log = processes.open_log(path)
    try:
        os.write(log, b"old" * 100)
        processes.trim_logs(tmp_path, most=400)
        assert path.stat().st_size == 300
        processes.trim_logs(tmp_path, most=200)
        os.write(log, b"new")
    finally:
        os.close(log)
    assert path.read_bytes() == b"new"
    assert (tmp_path / "consumer.log.1").read_bytes() == b"old" * 100
