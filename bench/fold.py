"""How fast the aggregator folds and finalises, and in how much memory: `python -m bench.fold --count 300000`.

Without a broker it measures the store's path in this process, on one core: decode, fold, commit. With `--kafka` it
sends the results through the real topic to an aggregator process of its own.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from aggregator import entries, store
from aggregator.finalise import write_result
from aggregator.fold import counts
from aggregator.reading import read
from aggregator.service import GROUP
from trapstream.core import kafka, messages, status, topics
from trapstream.core.messages import ImageResult, JobSpec, Lane, ModelInfo, Outcome, StageTimes
from trapstream.core.states import ENDED
from trapstream.core.store import whole_file

_BATCH = 5_000
_DISORDER = 20_000
"""Images that the consumers of an archive may be apart."""

MODEL = ModelInfo(
    name="bench",
    version="1",
    sha256="0" * 64,
    image_size=1280,
    stride=64,
    classes={"1": "animal", "2": "person", "3": "vehicle"},
    typical_threshold=0.2,
    conservative_threshold=0.1,
)


@dataclass(frozen=True)
class Record:
    """What the reader uses of a Kafka record."""

    offset: int
    value: bytes


def spec(job: str, count: int) -> JobSpec:
    """A sealed job of `count` images."""
    return JobSpec(
        job=job,
        name=job,
        lane=Lane.BULK,
        model=MODEL,
        threshold=0.005,
        images=count,
        manifest_sha256="0" * 64,
        created=0.0,
        total=count,
    )


def values(job: str, count: int, seed: int = 1) -> Iterator[bytes]:
    """Realistic results, somewhat out of order: four images in five are empty, one in five holds animals."""
    rand = random.Random(seed)
    for start in range(0, count, _DISORDER):
        seqs = list(range(start, min(count, start + _DISORDER)))
        rand.shuffle(seqs)
        for seq in seqs:
            boxes = [_box(rand) for _ in range(rand.choice((0, 0, 0, 0, 0, 0, 0, 0, 1, 3)))]
            boxes += [_box(rand, 0.05) for _ in range(rand.choice((0, 1, 2)))]  # below the threshold, as detectors give
            entry = {"file": f"site{seq % 50:03d}/camera{seq % 7}/IMG_{seq:07d}.JPG", "detections": boxes}
            yield messages.encode(
                ImageResult(
                    job=job,
                    seq=seq,
                    outcome=Outcome.DETECTED if boxes and float(str(boxes[0]["conf"])) >= 0.2 else Outcome.EMPTY,
                    reason=None,
                    entry=msgspec.Raw(msgspec.json.encode(entry)),
                    model=MODEL.label,
                    ms=StageTimes(fetch=1.25, decode=3.5, detect=40.125),
                )
            )


def _in_turn(streams: list[Iterator[bytes]]) -> Iterator[bytes]:
    return (value for some in zip(*streams, strict=True) for value in some)


def _box(rand: random.Random, most: float = 1.0) -> dict[str, object]:
    box = [round(rand.random(), 4) for _ in range(4)]
    return {"category": "1", "conf": round(0.2 * most + 0.8 * most * rand.random(), 3), "bbox": box}


def fold_in_process(count: int, jobs: int, folder: Path) -> dict[str, float]:
    """Folds `count` results of `jobs` jobs in this process and finalises the first.

    Rates a second, seconds, and MB of memory at the most.
    """
    job, partition = "bench", kafka.job_partition("bench")
    names = (f"bench-{number}" for number in itertools.count())
    others = itertools.islice((name for name in names if kafka.job_partition(name) == partition), jobs - 1)
    opened = store.Store(folder)
    cpu = wall = size = 0.0
    stream, offset = _in_turn([values(name, count // jobs) for name in (job, *others)]), 0
    while batch := [Record(offset + n, value) for n, value in enumerate(itertools.islice(stream, _BATCH))]:
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        done = read(batch, partition, opened.jobs)
        offset += len(batch)
        opened.fold(done.results, offset)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
        size += sum(len(record.value) for record in batch)
    before = time.perf_counter()
    with whole_file(folder / "result.json") as out:
        write_result(spec(job, count), counts(entries.read_tally(folder, job)), entries.read_entries(folder, job), out)
    finalise = time.perf_counter() - before
    before = time.perf_counter()
    opened.close()
    store.Store(folder).close()
    return {
        "images": count,
        "jobs": jobs,
        "bytes_each": round(size / count, 1),
        "folds_per_cpu_second": round(count / cpu),
        "folds_per_second": round(count / wall),
        "finalise_seconds": round(finalise, 2),
        "open_again_seconds": round(time.perf_counter() - before, 2),
        "store_bytes_each": round((folder / "store.sqlite").stat().st_size / count, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


async def fold_through_kafka(count: int, servers: str, home: Path) -> dict[str, float]:
    """Sends `count` results, then starts an aggregator. Rate from its first fold to its last; seconds to the file.

    An aggregator that folded before what the log already held makes way first, so that only these results count.
    """
    await kafka.create_topics(servers)
    async with _aggregator(servers, home) as child:
        await _caught_up(servers, child)
    job = messages.new_job_id("bench")
    await _send(servers, job, count)
    peak, first, last = 0, (0.0, 0, 0.0), (0.0, 0, 0.0)
    async with _aggregator(servers, home) as child:
        process = psutil.Process(child.pid)
        async for found in status.watch(servers, job):
            now = (time.perf_counter(), found.counts.done, sum(process.cpu_times()[:2]))
            peak = max(peak, process.memory_info().rss)
            if found.state in ENDED:
                break
            if found.counts.done:
                first = first if first[1] else now
                last = now if found.counts.done > last[1] else last
    folded = last[1] - first[1]
    return {
        "images": count,
        "folds_per_second": round(folded / max(last[0] - first[0], 1e-9)),
        "folds_per_cpu_second": round(folded / max(last[2] - first[2], 1e-9)),
        "end_seconds": round(time.perf_counter() - last[0], 2),
        "peak_mb": round(peak / 2**20),
    }


async def _send(servers: str, job: str, count: int) -> None:
    producer = await kafka.start_producer(servers)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec(job, count)), job.encode())
    stream = values(job, count)
    while some := list(itertools.islice(stream, 20_000)):
        await asyncio.gather(*[await producer.send(topics.DETECTIONS.name, value, job.encode()) for value in some])
    await producer.stop()


@contextlib.asynccontextmanager
async def _aggregator(servers: str, home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {"TRAPSTREAM_HOME": str(home), "TRAPSTREAM_KAFKA": servers, "TRAPSTREAM_MEMBER": "bench"}
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "aggregator", env=environment)
    try:
        yield child
    finally:
        child.terminate()
        await child.wait()


async def _caught_up(servers: str, child: asyncio.subprocess.Process) -> None:
    """Waits until the aggregator's group has committed the end of every partition."""
    parts = [TopicPartition(topics.DETECTIONS.name, number) for number in range(topics.DETECTIONS.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while any([(await consumer.committed(part) or 0) < ends[part] for part in parts]):
            if child.returncode is not None:
                raise SystemExit("the aggregator has ended; its last line says why")
            await asyncio.sleep(0.5)
    finally:
        await consumer.stop()


def main() -> None:
    """Prints one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=300_000)
    arguments.add_argument("--jobs", type=int, default=1, help="open at once; in this process only")
    arguments.add_argument("--kafka", metavar="HOST:PORT")
    arguments.add_argument("--folder", type=Path, help="where the store goes; default a temporary one")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.kafka:
            print(json.dumps(asyncio.run(fold_through_kafka(chosen.count, chosen.kafka, Path(folder)))))
        else:
            print(json.dumps(fold_in_process(chosen.count, chosen.jobs, Path(folder))))


if __name__ == "__main__":
    main()
