"""Publishing one job, from its stored manifest to its seal. Can die anywhere and be called again."""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from producer import chunks, cursor
from producer.chunks import DamagedManifest
from producer.cursor import Cursor
from producer.pace import Pace, Place
from producer.sender import Sender, Sent
from trapstream.core import faults, log, metrics
from trapstream.core.messages import JobSpec
from trapstream.core.meters import Span

Progress = Callable[[int], None]
"""Takes the number of references acknowledged so far."""


async def publish(
    spec: JobSpec,
    manifest: Path,
    place: Path,
    sender: Sender,
    pace: Pace,
    *,
    checkpoint: int,
    checking: asyncio.Semaphore,
    stop: asyncio.Event,
    progress: Progress,
    work: Span,
) -> None:
    """Publishes every reference at least once, then seals the job; or says in its spec why it cannot be.

    Publishes no faster than `pace` lets it, so a large job is open for as long as its images take.

    Returns early, at a chunk's end and with its cursor written, once `stop` is set. Retryable if Kafka refuses
    something: call again. `place`: of the cursor. `checkpoint`: references between two writes of it, where nothing
    holds it up. `checking` bounds how many manifests are digested at once. `work`: the time spent on sending.
    """
    try:
        # 1. The manifest is what was submitted. Dying after this: nothing was sent, it is checked again.
        async with checking:
            await asyncio.to_thread(chunks.check, manifest, spec)
        faults.reach("publish.1")
        # 2. Go on where the cursor says. Dying after this: as before.
        done = await asyncio.to_thread(cursor.read, place, spec)
        progress(done.seq)
        faults.reach("publish.2")
        with pace.place(spec) as turns:
            done = await _send_all(spec, manifest, place, sender, turns, done, checkpoint, stop, progress, work)
        if done.seq < spec.images:
            log.get_logger().info("left for the next start", job=spec.job, published=done.seq)
            return
        # 6. Seal the job: all is acknowledged. Dying before this: the cursor stands at the end.
        await sender.send_spec(replace(spec, total=spec.images))
        faults.reach("publish.6")
        log.get_logger().info("published", job=spec.job, references=spec.images)
    except DamagedManifest as error:
        log.get_logger().error("cannot be published", job=spec.job, error=str(error))
        await sender.send_spec(replace(spec, failed=str(error)))
    # 7. Forget the cursor. Dying before this: whoever reads the sealed spec at the next start removes it.
    await asyncio.to_thread(cursor.remove, place)
    faults.reach("publish.7")


async def _send_all(
    spec: JobSpec,
    manifest: Path,
    place: Path,
    sender: Sender,
    turns: Place,
    begin: Cursor,
    checkpoint: int,
    stop: asyncio.Event,
    progress: Progress,
    work: Span,
) -> Cursor:
    """Steps 3 to 5, again and again. How far it came, written and acknowledged."""
    in_flight: deque[tuple[Sent, Cursor]] = deque()
    done = saved = at = begin

    async def settle() -> Cursor:
        sent, after = in_flight.popleft()
        await sender.acknowledged(sent)
        turns.settled(after.seq - done.seq)
        progress(after.seq)
        faults.reach("publish.4")
        return after

    while at.seq < spec.images and not stop.is_set():
        if turns.room >= 1:
            async with sender.turn:
                # 3. Send a chunk. Dying after this: it may be in the topic; the cursor is before it, so it is sent
                #    again; the fold counts the first result.
                most = int(min(turns.room, chunks.MOST_REFS))
                with work:
                    chunk = await asyncio.to_thread(chunks.read, manifest, spec, at, most)
                    in_flight.append((await sender.send(spec, chunk), chunk.after))
                turns.sent(chunk.after.seq - at.seq)
                at = chunk.after
            faults.reach("publish.3")
        # 4. Note what is acknowledged, in order; all of it before a wait. Dying after this: what came since the cursor
        #    is sent again.
        held = turns.room < 1
        while in_flight and (held or in_flight[0][0].answer.done()):
            done = await settle()
        # 5. Write the cursor, which is never ahead of an acknowledgement. Dying after this: nothing is repeated.
        if done.seq - saved.seq >= (1 if held else checkpoint):
            await asyncio.to_thread(cursor.write, place, done)
            saved = done
            faults.reach("publish.5")
        if turns.room < 1 and at.seq < spec.images:
            await turns.wait(stop)
    while in_flight:
        done = await settle()
    await asyncio.to_thread(cursor.write, place, done)
    faults.reach("publish.5")
    return done


def counted(spec: JobSpec, note: Progress) -> Progress:
    """`note`, and the metric of references acknowledged."""
    last: int | None = None

    def progress(seq: int) -> None:
        nonlocal last
        if last is not None:
            metrics.PUBLISHED.labels(spec.lane.value).inc(max(0, seq - last))
        last = seq
        note(seq)

    return progress
