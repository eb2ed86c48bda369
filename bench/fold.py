"""How fast the aggregator folds and finalises, and in how much memory: `python -m bench.fold --count 3000000`.

Results go through the real topic, of a Kafka of its own or of the one at `--kafka`, to an aggregator of its own. With
`--in-process` it measures the store's path alone, in this process, on one core: decode, fold, commit.
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
from aiokafka import TopicPartition

from aggregator.service import GROUP
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageResult, JobSpec, JobStatus, Lane, ModelInfo, Outcome, StageTimes
from trapstream.core.result_store import whole_file
from trapstream.core.states import ENDED
from trapstream.local import control
from trapstream.results import entries
from trapstream.results import fold_store as store
from trapstream.results.fold import counts
from trapstream.results.records import read
from trapstream.results.write import write_result

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


async def fold_through_kafka(count: int, jobs: int, servers: str, home: Path) -> dict[str, float]:
    """Sends `count` results of `jobs` jobs in turn, then starts an aggregator, which so has all of them open at once.

    Rate from its first fold to its last; seconds from there to the last file; its largest resident size in MB. An
    aggregator that folded before what the log already held makes way first, so that only these results count.
    """
    await kafka.create_topics(servers)
    async with _aggregator(servers, home) as child:
        await _caught_up(servers, child)
    names = [messages.new_job_id("bench") for _ in range(jobs)]
    await _send(servers, names, count // jobs)
    _say("sent; an aggregator folds")
    peak, first, last = 0, (0.0, 0, 0.0), (0.0, 0, 0.0)
    async with _aggregator(servers, home) as child:
        process = psutil.Process(child.pid)
        async for done, ended in _progress(servers, set(names)):
            now = (time.perf_counter(), done, sum(process.cpu_times()[:2]))
            peak = max(peak, process.memory_info().rss)
            if done:
                first = first if first[1] else now
                last = now if done > last[1] else last
            if ended:
                break
    folded = last[1] - first[1]
    return {
        "images": count,
        "jobs": jobs,
        "folds_per_second": round(folded / max(last[0] - first[0], 1e-9)),
        "folds_per_cpu_second": round(folded / max(last[2] - first[2], 1e-9)),
        "end_seconds": round(time.perf_counter() - last[0], 2),
        "peak_mb": round(peak / 2**20),
    }


async def _progress(servers: str, jobs: set[str]) -> AsyncIterator[tuple[int, bool]]:
    """Images folded of all `jobs` so far, and whether every job has ended."""
    newest: dict[str, JobStatus] = {}
    async for records in kafka.follow(servers, topics.STATUS):
        found = (messages.decode(record.value, JobStatus) for record in records if record.value is not None)
        newest.update({each.job: each for each in found if each.job in jobs})
        ended = sum(each.state in ENDED for each in newest.values())
        yield sum(each.counts.done for each in newest.values()), ended == len(jobs)


async def _send(servers: str, jobs: list[str], each: int) -> None:
    producer = await kafka.start_producer(servers)
    for job in jobs:
        await producer.send(topics.JOBS.name, messages.encode(spec(job, each)), job.encode())
    keys = itertools.cycle([job.encode() for job in jobs])
    stream, sent = zip(keys, _in_turn([values(job, each) for job in jobs]), strict=False), 0
    while some := list(itertools.islice(stream, 20_000)):
        await asyncio.gather(*[await producer.send(topics.DETECTIONS.name, value, key) for key, value in some])
        sent += len(some)
        if sent % 500_000 == 0:
            _say(f"{sent:,} of {each * len(jobs):,} results sent")
    await producer.stop()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
    consumer = kafka.Consumer(bootstrap_servers=servers, group_id=GROUP, enable_auto_commit=False)
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
    arguments.add_argument("--jobs", type=int, default=1, help="open at once, which share the results")
    arguments.add_argument("--kafka", metavar="HOST:PORT", help="default one of its own")
    arguments.add_argument("--in-process", action="store_true", help="without Kafka")
    arguments.add_argument("--folder", type=Path, help="where the store goes; default a temporary one")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder, contextlib.ExitStack() as held:
        home = Path(folder)
        if chosen.in_process:
            print(json.dumps(fold_in_process(chosen.count, chosen.jobs, home)))
        else:
            servers = chosen.kafka or held.enter_context(_broker(home / "stack"))
            print(json.dumps(asyncio.run(fold_through_kafka(chosen.count, chosen.jobs, servers, home / "aggregator"))))


@contextlib.contextmanager
def _broker(home: Path) -> Iterator[str]:
    home.mkdir()
    up = control.up(home, _say, services=(), passing=True)
    try:
        yield up.endpoints["kafka"]
    finally:
        control.down(home, _say)


if __name__ == "__main__":
    main()
