"""How long stages are at work, by a clock that the test turns."""

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import eventually
from trapstream.core.channel import Channel
from trapstream.core.meters import Joint, Meters, Span, busy_seconds

steps = st.lists(st.tuples(st.sampled_from([1, -1]), st.floats(0, 10)))


@given(steps, st.integers(1, 3))
def test_a_span_is_the_time_of_all_who_are_inside(moves: list[tuple[int, float]], most: int) -> None:
    """The sum is the number of those inside, at most `most`, times the time, also while they are inside."""
    now, inside, wanted = 0.0, 0, 0.0
    span = Span(most, clock=lambda: now)
    for move, seconds in moves:
        if inside + move >= 0:
            inside += move
            (span.begin if move > 0 else span.end)()
        now += seconds
        wanted += min(inside, most) * seconds
        assert abs(span.seconds() - wanted) < 1e-6


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, -1]), st.floats(0, 10))))
def test_a_joint_is_the_time_in_which_all_wait(moves: list[tuple[int, int, float]]) -> None:
    """The sum is the time in which each part has somebody inside, however many those are."""
    now, inside, wanted = 0.0, [0, 0, 0], 0.0
    joint = Joint(3, clock=lambda: now)
    parts = [joint.part() for _ in range(3)]
    for number, move, seconds in moves:
        if inside[number] + move >= 0:
            inside[number] += move
            (parts[number].begin if move > 0 else parts[number].end)()
        now += seconds
        wanted += seconds if all(inside) else 0.0
        assert abs(joint.seconds() - wanted) < 1e-6


async def _grows(span: Span) -> bool:
    return span.seconds() > 0


async def test_a_full_channel_counts_the_time_that_it_holds() -> None:
    """The time in which a sender waits is counted, and so is that in which a receiver does."""
    channel = Channel[int](1)
    before = channel.full.seconds(), channel.empty.seconds()
    assert before == (0.0, 0.0)
    receiver = asyncio.create_task(channel.receive())
    await eventually("a waiting receiver", lambda: _grows(channel.empty))
    await channel.send(1)
    await receiver
    await channel.send(2)
    sender = asyncio.create_task(channel.send(3))
    await eventually("a waiting sender", lambda: _grows(channel.full))
    assert await channel.receive() == 2
    await sender


def test_a_stage_is_told_with_what_it_did() -> None:
    """Totals hold each stage's workers, images and time; a load is the difference of two looks."""
    meters = Meters()
    assert not meters.measured
    assert meters.load() is None
    meter = meters.stage("decode", 2)
    meters.look()
    with meter.work:
        meter.images += 7
        meters.look()
    assert meters.measured
    totals = meters.totals().stages["decode"]
    assert (totals.workers, totals.images) == (2, 7)
    assert totals.busy > 0
    load = meters.load()
    assert load is not None
    assert load.stages[0].rate * load.seconds > 6.9


def test_a_containers_limit_is_what_its_cores_are(tmp_path: Path) -> None:
    """Where a control group has a limit below the machine's cores, that and its own use count."""
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert busy_seconds(tmp_path) == (0.5, 2.5)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    cores, busy = busy_seconds(tmp_path)
    assert cores >= 1
    assert busy > 0
