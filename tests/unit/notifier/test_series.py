"""A series as one stream: the order of its jobs, the ids of its events, and where it goes on."""

import itertools
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import job_sequence
from notifier.event_format import Detection, Result, ResultData
from notifier.job_filter import CoolDown, JobFilter
from notifier.job_sequence import BadId, JobSequence, Key, LastId, SeriesJobs, SingleJob, Start
from tests.unit.values import MODEL, job_spec
from trapstream.core.messages import EventFilter

NOW = 1e9
Log = dict[Key, list[Result]]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """The results of a series' jobs, job after job; some days have none, some cameras come in many of them."""
    log: Log = {}
    time, offset = 1_000_000.0, 0
    for number in range(draw(st.integers(1, 5))):
        time += draw(st.sampled_from([0.1, 10.0, 500.0]))
        job = f"ridge-{number}"
        key = (time, job)
        log[key] = []
        for seq in range(draw(st.integers(0, 6))):
            time += draw(st.sampled_from([0.0, 1.0, 5.0, 40.0]))
            offset += draw(st.integers(1, 3))
            camera = draw(st.sampled_from(["C1", "C2", None]))
            log[key].append(answered(offset, time, job, seq, camera, found=draw(st.booleans())))
    return log


def answered(offset: int, time: float, job: str, seq: int, camera: str | None = "C1", found: bool = True) -> Result:
    """An image's result."""
    detections = (Detection("1", 0.9),) if found else ()
    data = ResultData(f"{job}/{seq}", job, seq, "a.jpg", camera, "empty", time, msgspec.Raw(b"{}"))
    return Result(offset, detections, data)


class Event(NamedTuple):
    """What a stream sent: a result, or that a job is over."""

    id: str | None
    result: Result | None


def streamed(log: Log, wanted: EventFilter, last: LastId | None = None) -> list[Event]:
    """What a client gets who began with the first job, or goes on after an id, with all of the log there."""
    keys = list(log)
    cooldown, events = CoolDown(wanted.cooldown), list[Event]()
    first = keys[:1] if last is None else keys
    sequence = job_sequence.series_sequence(first, lambda _: last is not None, last, False, wanted.cooldown, NOW)
    while (part := sequence.next(keys)) is not None:
        sequence.begin(part)
        cooldown.start_job()
        job_filter = JobFilter(wanted, MODEL, cooldown)
        for result in log[part.key]:
            if result.offset < (part.start.read_from or 0) or not job_filter.accept(result):
                continue
            if not part.silent and result.offset >= part.start.send_from:
                events.append(Event(sequence.advance(part.job, result.offset + 1), result))
        if not part.silent:
            sequence.close(part.job)
            events.append(Event(sequence.id, None))
    return events


def read(event: Event) -> LastId:
    """What the event's id says."""
    return job_sequence.read_series_id(event.id or "")


FILTERS = st.builds(
    EventFilter, cooldown=st.sampled_from([0.0, 5.0, 30.0, 600.0]), cameras=st.sampled_from([(), ("C1",)])
)


@given(logs(), FILTERS)
def test_every_job_is_sent(log: Log, wanted: EventFilter) -> None:
    """Each result that is asked for once, in order, over all jobs; a camera once in a cool-down, whatever the day."""
    events = streamed(log, wanted)
    sent = [event.result for event in events if event.result is not None]
    all_results = itertools.chain.from_iterable(log.values())
    expected = [each for each in all_results if not wanted.cameras or each.data.camera in wanted.cameras]
    if not wanted.cooldown:
        assert sent == expected
    for camera in {each.data.camera for each in sent}:
        times = [each.data.time for each in sent if each.data.camera == camera]
        assert all(later - time >= wanted.cooldown for time, later in itertools.pairwise(times))
    cameras = {each.data.camera for each in expected if each.detections}
    assert not wanted.cooldown or {each.data.camera for each in sent} == cameras
    assert [event.id for event in events if event.result is None] == [f"{job}:end" for _, job in log]


@given(logs(), FILTERS, st.data())
def test_a_stream_that_is_cut_anywhere_goes_on(log: Log, wanted: EventFilter, data: st.DataObject) -> None:
    """After any event of any job the rest follows, none lost and none twice, and the cool-down holds across the cut."""
    whole = streamed(log, wanted)
    place = data.draw(st.integers(0, len(whole) - 1))
    assert streamed(log, wanted, read(whole[place])) == whole[place + 1 :]


@pytest.mark.parametrize("cooldown", [5.0, 35.0, 95.0, 250.0])
def test_a_branch_that_waves_for_days(cooldown: float) -> None:
    """A camera that comes all the time is sent once in a cool-down over all jobs, wherever its client reconnects."""
    log: Log = {
        (job * 100.0, f"ridge-{job}"): [
            answered(job * 10 + seq, job * 100.0 + 1 + seq * 10, f"ridge-{job}", seq) for seq in range(10)
        ]
        for job in range(1, 6)
    }
    whole = streamed(log, EventFilter(cooldown=cooldown))
    times = [event.result.data.time for event in whole if event.result is not None]
    assert all(cooldown <= later - time < 2 * cooldown + 10 for time, later in itertools.pairwise(times))
    for place, event in enumerate(whole):
        assert streamed(log, EventFilter(cooldown=cooldown), read(event)) == whole[place + 1 :]


@given(st.permutations([(float(number // 2), f"ridge-{number}") for number in range(8)]), st.integers(0, 8))
def test_the_order_of_jobs(keys: list[Key], together: int) -> None:
    """That in which they were opened, of those that are known; each is begun once, whenever it becomes known."""
    jobs, begun, sequence = SeriesJobs(), list[Key](), JobSequence([], {}, [(-1.0, "")])
    for number, (created, job) in enumerate([*keys, *keys[:3]]):
        spec = job_spec(job=job, series="ridge", created=created)
        jobs.add(spec)
        jobs.add(job_spec(job=f"x{job}", series="other", created=created))
        earlier = [key for key in jobs.keys("ridge") if key < (created, job)]
        assert jobs.before(spec) == (earlier[-1][1] if earlier else None)
        if number < together:
            continue
        first = len(begun)
        while (part := sequence.next(jobs.keys("ridge"))) is not None:
            begun.append(part.key)
        assert begun[first:] == sorted(begun[first:])
    assert sorted(begun) == sorted(keys) == list(jobs.keys("ridge"))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), st.integers(0, 10**17), max_size=8))
def test_an_id_says_how_far_it_has_come(offsets: dict[str, int]) -> None:
    """Of each job that goes on its offset, of the last one that it is whole."""
    sequence = JobSequence([], offsets, [(1.0, "newest")])
    assert job_sequence.read_series_id(sequence.id or "") == offsets | {"newest": None}
    sequence.advance("newest", 7)
    assert job_sequence.read_series_id(sequence.id or "") == offsets | {"newest": 7}


def test_a_job_s_stream_ends_with_its_job() -> None:
    """It has one job, whatever follows in its series, and no id before there is an event."""
    sequence = SingleJob("ridge-1", 3, Start(None, 0))
    assert sequence.heartbeat_id is None
    part = sequence.next(())
    assert part is not None and part.job == "ridge-1"
    sequence.begin(part)
    assert sequence.heartbeat_id is None and sequence.advance("ridge-1", 8) == "3:7" == sequence.heartbeat_id
    assert not sequence.ends
    sequence.close("ridge-1")
    assert sequence.ends and sequence.next(()) is None


KEYS = [(1.0, "r-1"), (2.0, "r-2"), (3.0, "r-3")]


def begun(last: str | None = None, *ended: str, from_now: bool = False, cooldown: float = 0.0) -> tuple[list[str], str]:
    """The jobs that a stream begins with, the silent ones in brackets, and its id then."""
    known = None if last is None else job_sequence.read_series_id(last)
    sequence = job_sequence.series_sequence(KEYS, ended.__contains__, known, from_now, cooldown, 3.5)
    first_id, parts = sequence.id, iter(lambda: sequence.next(()), None)
    return [f"({part.job})" if part.silent else part.job for part in parts], first_id or ""


def test_where_a_stream_begins() -> None:
    """With the open job, or with what comes next; from now on with all that go on; after an id where it was."""
    assert begun(None, "r-1", "r-2") == (["r-3"], "r-3:0")
    assert begun(None, "r-1", "r-2", "r-3") == ([], "r-3:end")
    assert begun(None, "r-1", from_now=True) == (["r-2", "r-3"], "r-2:0,r-3:0")
    assert begun("r-1:7,r-2:9") == (["r-1", "r-2"], "r-1:7,r-2:9")
    assert begun("r-2:end") == ([], "r-2:end")
    # With a cool-down what was before is heard again: as far back as it may matter.
    assert begun(None, "r-1", "r-2", cooldown=0.5)[0] == ["(r-2)", "r-3"]
    assert begun(None, "r-1", "r-2", cooldown=1.5)[0] == ["(r-1)", "(r-2)", "r-3"]
    assert begun("r-1:7,r-3:9", cooldown=0.5) == (["r-1", "(r-2)", "r-3"], "r-1:7,r-3:9")


@pytest.mark.parametrize("last", ["3:7", "r-1", "r-1:", "r-1:-1", "r-1:7,", "x:7", "r-1:7\n", "r-1:²", "r-1:7," * 20])
def test_an_id_of_something_else_is_refused(last: str) -> None:
    """One line that shows what an id looks like."""
    with pytest.raises(BadId, match="ridge-2026-11-23:1742"):
        begun(last)
