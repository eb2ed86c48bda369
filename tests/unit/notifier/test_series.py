"""A series as one stream: the order of its jobs, the ids of its events, and where it goes on."""

import itertools
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import series
from notifier.cooling import Cooling
from notifier.listening import Listening
from notifier.results import Found, Result
from notifier.resume import BadId, Start
from notifier.series import Jobs, Key, Last, Part, Told
from tests.unit.values import MODEL, job_spec
from trapstream.core.messages import Wish

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
    """An image's answer."""
    boxes = (Found("1", 0.9),) if found else ()
    return Result(offset, time, job, seq, "empty", "a.jpg", camera, boxes, msgspec.Raw(b"{}"))


class Event(NamedTuple):
    """What a stream said: a result, or that a job is over."""

    id: str
    result: Result | None


def streamed(log: Log, wish: Wish, last: Last | None = None) -> list[Event]:
    """What one hears who began with the first job, or goes on after an id, with all of the log there."""
    keys = list(log)
    cooling, events = Cooling(wish.cooldown), list[Event]()
    first = keys[:1] if last is None else keys
    parts, told = series.begin(first, lambda _: last is not None, last, False, wish.cooldown, NOW)
    met = {key for key in keys if key <= next(key for key in keys if key[1] == told.newest)}
    while True:
        if parts:
            part = parts.pop(0)
        elif (key := series.following(keys, met)) is not None:
            met.add(key)
            told.begun(key[1], newest=True)
            part = Part(key, Start(None, 0))
        else:
            return events
        cooling.turn()
        listening = Listening(wish, MODEL, cooling)
        for result in log[part.key]:
            if result.offset < (part.start.place or 0) or not listening.hears(result):
                continue
            if not part.silent and result.offset >= part.start.told:
                told.passed(result.job, result.offset + 1)
                events.append(Event(told.id, result))
        if not part.silent:
            told.over(part.key[1])
            events.append(Event(told.id, None))


WISHES = st.builds(Wish, cooldown=st.sampled_from([0.0, 5.0, 30.0, 600.0]), cameras=st.sampled_from([(), ("C1",)]))


@given(logs(), WISHES)
def test_every_job_is_told(log: Log, wish: Wish) -> None:
    """Each result that is asked for once, in order, over all jobs; a camera once in a cool-down, whatever the day."""
    events = streamed(log, wish)
    told = [event.result for event in events if event.result is not None]
    wanted = [each for results in log.values() for each in results if not wish.cameras or each.camera in wish.cameras]
    if not wish.cooldown:
        assert told == wanted
    for camera in {each.camera for each in told}:
        times = [each.time for each in told if each.camera == camera]
        assert all(later - time >= wish.cooldown for time, later in itertools.pairwise(times))
    heard = {each.camera for each in wanted if each.found}
    assert not wish.cooldown or {each.camera for each in told} == heard
    assert [event.id for event in events if event.result is None] == [f"{job}:end" for _, job in log]


@given(logs(), WISHES, st.data())
def test_a_stream_that_is_cut_anywhere_goes_on(log: Log, wish: Wish, data: st.DataObject) -> None:
    """After any event of any job the rest follows, none lost and none twice, and the cool-down holds across the cut."""
    whole = streamed(log, wish)
    place = data.draw(st.integers(0, len(whole) - 1))
    assert streamed(log, wish, series.read(whole[place].id)) == whole[place + 1 :]


@pytest.mark.parametrize("cooldown", [5.0, 35.0, 95.0, 250.0])
def test_a_branch_that_waves_for_days(cooldown: float) -> None:
    """A camera that rings all the time is told once in a cool-down over all jobs, wherever its listener comes again."""
    log: Log = {
        (job * 100.0, f"ridge-{job}"): [
            answered(job * 10 + seq, job * 100.0 + 1 + seq * 10, f"ridge-{job}", seq) for seq in range(10)
        ]
        for job in range(1, 6)
    }
    whole = streamed(log, Wish(cooldown=cooldown))
    times = [event.result.time for event in whole if event.result is not None]
    assert all(cooldown <= later - time < 2 * cooldown + 10 for time, later in itertools.pairwise(times))
    for place, event in enumerate(whole):
        assert streamed(log, Wish(cooldown=cooldown), series.read(event.id)) == whole[place + 1 :]


@given(st.permutations([(float(number // 2), f"ridge-{number}") for number in range(8)]), st.integers(0, 8))
def test_the_order_of_jobs(keys: list[Key], together: int) -> None:
    """That in which they were opened, of those that are known; each is met once, whenever it becomes known."""
    jobs, met = Jobs(), list[Key]()
    for number, (created, job) in enumerate([*keys, *keys[:3]]):
        spec = job_spec(job=job, series="ridge", created=created)
        jobs.add(spec)
        jobs.add(job_spec(job=f"x{job}", series="other", created=created))
        earlier = [key for key in jobs.of("ridge") if key < (created, job)]
        assert jobs.before(spec) == (earlier[-1][1] if earlier else None)
        if number < together:
            continue
        first = len(met)
        while (key := series.following(jobs.of("ridge"), met)) is not None:
            met.append(key)
        assert met[first:] == sorted(met[first:])
    assert sorted(met) == sorted(keys) == list(jobs.of("ridge"))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), st.integers(0, 10**17), max_size=8))
def test_an_id_says_how_far_it_has_come(places: dict[str, int]) -> None:
    """Of each job that goes on its place, of the last one that it is whole."""
    told = Told("newest", dict(places))
    assert series.read(told.id) == places | {"newest": None}
    told.passed("newest", 7)
    assert series.read(told.id) == places | {"newest": 7}


KEYS = [(1.0, "r-1"), (2.0, "r-2"), (3.0, "r-3")]


def begun(last: str | None = None, *ended: str, from_now: bool = False, cooldown: float = 0.0) -> tuple[list[str], str]:
    """The jobs that a stream begins with, the silent ones in brackets, and its id then."""
    known = None if last is None else series.read(last)
    parts, told = series.begin(KEYS, ended.__contains__, known, from_now, cooldown, 3.5)
    return [f"({key[1]})" if silent else key[1] for key, _, silent in parts], told.id


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
