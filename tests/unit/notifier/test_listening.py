"""Which results are sent, and where a stream goes on: the rules, against models that are obviously right."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import event_format, job_sequence
from notifier.event_format import Detection, Record, Result, ResultData
from notifier.job_filter import CoolDown, JobFilter, SeenImages
from notifier.past import Past
from notifier.tail import MOST_BYTES, MOST_RECORDS, Subscription, Tail
from tests.unit.producer.test_door import NOBODY
from tests.unit.values import MODEL, image_result
from trapstream.core import event_filter, messages
from trapstream.core.errors import BadMessage
from trapstream.core.event_filter import BadFilter
from trapstream.core.messages import Counts, EventFilter, JobState, JobStatus

CAMERAS = ["C1", "C2", None]
some_detections = st.builds(
    Detection, category=st.sampled_from(["1", "2", "9"]), conf=st.sampled_from([0.1, 0.49, 0.5, 0.9])
)


@st.composite
def logs(draw: st.DrawFn) -> list[Result]:
    """A job's results in the order of the log: some images twice, the time going on, other jobs between."""
    made, offset, time = [], 0, 1_000_000.0
    for _ in range(draw(st.integers(0, 12))):
        offset += draw(st.integers(1, 3))
        time += draw(st.sampled_from([0.0, 1.0, 5.0, 20.0]))
        found = tuple(draw(st.lists(some_detections, max_size=2)))
        camera = draw(st.sampled_from(CAMERAS))
        seq = draw(st.integers(0, 8))
        data = ResultData(f"job-1/{seq}", "job-1", seq, "a.jpg", camera, "empty", time, msgspec.Raw(b"{}"))
        made.append(Result(offset, found, data))
    return made


some_filters = st.builds(
    EventFilter,
    categories=st.sampled_from([(), ("animal",), ("2", "animal")]),
    confidence=st.sampled_from([None, 0.2, 0.9]),
    cameras=st.sampled_from([(), ("C1",), ("C1", "C2")]),
    cooldown=st.sampled_from([0.0, 5.0, 30.0]),
)


def sent(log: list[Result], wanted: EventFilter) -> list[int]:
    """The offsets of the results that a stream from the beginning sends."""
    job_filter = JobFilter(wanted, MODEL)
    return [result.offset for result in log if job_filter.accept(result)]


@given(logs(), some_filters)
def test_which_results_are_sent(log: list[Result], wanted: EventFilter) -> None:
    """The first result of each image that has what is asked for, where its camera was not sent just before."""
    ids = {"animal": "1", "2": "2"}
    categories = {ids[name] for name in wanted.categories} or set(MODEL.classes)
    lowest = MODEL.typical_threshold if wanted.confidence is None else wanted.confidence
    everything = wanted == EventFilter(cameras=wanted.cameras)
    seen, expected, last = set(), [], dict[str | None, float]()
    for result in log:
        first = result.data.seq not in seen
        seen.add(result.data.seq)
        has = everything or any(one.category in categories and one.conf >= lowest for one in result.detections)
        if not first or not has or (wanted.cameras and result.data.camera not in wanted.cameras):
            continue
        if result.data.time - last.get(result.data.camera, float("-inf")) >= wanted.cooldown:
            last[result.data.camera] = result.data.time
            expected.append(result.offset)
    assert sent(log, wanted) == expected


@given(logs(), some_filters, st.data())
def test_a_stream_that_is_resumed_sends_the_same(log: list[Result], wanted: EventFilter, data: st.DataObject) -> None:
    """Cut after any event, it goes on with the next one: no gap, no double, and the cool-down holds across the cut."""
    whole = sent(log, wanted)
    if not whole:
        return
    after = data.draw(st.sampled_from(whole))
    start = job_sequence.job_start(f"3:{after}", 3, wanted.cooldown > 0)
    job_filter = JobFilter(wanted, MODEL)
    read = [result for result in log if result.offset >= (start.read_from or 0)]
    rest = [result.offset for result in read if job_filter.accept(result) and result.offset >= start.send_from]
    repeats = {
        result.offset
        for result in log
        if any(each.data.seq == result.data.seq and each.offset < result.offset for each in log)
    }
    if wanted.cooldown:
        assert rest == whole[whole.index(after) + 1 :]
    else:  # what consumers did twice, on both sides of the cut, may come twice: it has the same name
        assert [offset for offset in rest if offset not in repeats] == whole[whole.index(after) + 1 :]


@pytest.mark.parametrize("last", ["x", "4:1", "3:", "3:-1", "3:1:1", "3:1\n", "³:1", "3:" + "9" * 30])
def test_an_id_of_something_else_is_refused(last: str) -> None:
    """One line that shows what an id looks like; none, an empty one and that of the end begin at the beginning."""
    with pytest.raises(job_sequence.BadId, match="3:1742"):
        job_sequence.job_start(last, 3, False)
    assert {job_sequence.job_start(none, 3, True) for none in (None, "", "end")} == {job_sequence.Start(None, 0)}


def test_a_cool_down_remembers_the_last_cameras() -> None:
    """Its memory is bounded, however many folders a job has: the cameras that are longest ago are forgotten."""
    cooldown = CoolDown(1e9)
    assert all(cooldown.accept(f"C{number}", float(number)) for number in range(12_000))
    assert list(cooldown.last_sent) == [f"C{number}" for number in range(2_000, 12_000)]


@given(st.lists(st.integers(0, messages.MOST_IMAGES - 1)))
def test_seen_is_a_set(seqs: list[int]) -> None:
    """As a set would, in a bit for each image."""
    seen, model = SeenImages(), set[int]()
    for seq in seqs:
        assert seen.add(seq) == (seq not in model)
        model.add(seq)


@given(st.lists(st.integers(0, MOST_BYTES // 100), max_size=120), st.booleans())
@settings(max_examples=20)
def test_a_subscription_is_bounded(sizes: list[int], many: bool) -> None:
    """Its queue holds so many records and bytes, or nothing: a client that falls behind costs no memory."""
    subscription = Subscription(Tail(NOBODY), Past(NOBODY), "job-1", 0, asyncio.Event())
    for offset, size in enumerate(sizes + [0] * (MOST_RECORDS + 1) * many):
        subscription.add(Record(offset, 0.0, bytes(size)))
        assert len(subscription.queue) <= MOST_RECORDS
        assert not (subscription.dropped and subscription.queue)
    assert sum(len(record.value) for record in subscription.queue) <= MOST_BYTES
    assert subscription.dropped == (many or sum(sizes) > MOST_BYTES)


def record(entry: bytes) -> Record:
    """A record of the log."""
    return Record(7, 5.0, messages.encode(image_result(entry=msgspec.Raw(entry))))


@pytest.mark.parametrize(
    ("entry", "camera"),
    [
        (b'{"file":"C7/a.jpg","meta":"{\\"camera\\":\\"ridge\\",\\"serial\\":\\"X1\\"}"}', "ridge"),
        (b'{"file":"C7/a.jpg","meta":"{\\"serial\\":\\"X1\\"}"}', "X1"),
        (b'{"file":"C7/DCIM/a.jpg","meta":"{\\"camera\\":7}"}', "C7/DCIM"),
        (b'{"file":"C7/a.jpg","meta":"whatever [[["}', "C7"),
        (b'{"file":"a.jpg","failure":"x","detections":null}', None),
    ],
)
def test_the_camera_of_a_result(entry: bytes, camera: str | None) -> None:
    """As its sender names it, else its serial number, else the folder of its name."""
    assert event_format.read(record(entry)).data.camera == camera


def test_an_event_is_one_line() -> None:
    """Whatever stands in an entry, no line of it passes for a field of the stream; the content is kept."""
    entry = b'{"file": "a\\nid: 9:9\\n\\ndata: x",\n\r\n "detections" : []}'
    found = event_format.read(record(entry))
    frame = event_format.result(found.data, f"3:{found.offset}")
    assert frame.count(b"\n") == 4 and frame.endswith(b"\n\n") and b"\r" not in frame
    event, number, data = frame.decode().split("\n\n")[0].split("\n")
    assert (event, number) == ("event: result", "id: 3:7")
    shown = msgspec.json.decode(data.removeprefix("data: "))
    assert shown["result"]["file"] == "a\nid: 9:9\n\ndata: x" and shown["id"] == "job-1/0" and shown["time"] == 5.0
    ended = event_format.end(JobStatus(job="job-1", state=JobState.COMPLETED, total=1, counts=Counts(empty=1)))
    assert ended.startswith(b"event: end\nid: end\ndata: {") and event_format.heartbeat(None) == b": still here\n\n"


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"v":1}', b"[" * 10_000])
def test_what_cannot_be_read_is_told_apart(value: bytes) -> None:
    """A BadMessage, whatever the log holds."""
    with pytest.raises(BadMessage):
        event_format.read(Record(0, 0.0, value))
    with pytest.raises(BadMessage):
        event_format.read(record(b'{"detections":7}'))


def test_a_filter_is_read_from_a_query() -> None:
    """Names once or several times, with commas; other parameters are ignored."""
    query = [("category", "animal, person"), ("category", "3"), ("camera", "C7"), ("confidence", "0.6"), ("x", "y")]
    wanted = event_filter.parse([*query, ("cooldown", "300")])
    assert wanted == EventFilter(categories=("animal", "person", "3"), confidence=0.6, cameras=("C7",), cooldown=300.0)
    assert event_filter.category_ids(wanted, MODEL.classes) == {"1", "2", "3"}
    assert event_filter.category_ids(EventFilter(categories=("yeti",)), MODEL.classes) == frozenset()
    hook = event_filter.webhook("https://example.org/a?token=b", "category=animal&cooldown=300")
    assert hook.event_filter == EventFilter(categories=("animal",), cooldown=300.0)
    on_the_wire = {"url": hook.url, "wish": {"categories": ["animal"], "cooldown": 300.0}}
    assert msgspec.json.decode(msgspec.json.encode(hook)) == on_the_wire
    assert event_filter.log_address("https://me:secret@example.org:8443/a?token=b") == "https://example.org:8443"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org", ""), ("https://", ""), ("https://a b", ""), ("https://[", ""), ("https://a:99999/", ""),
        ("https://é.example", ""), ("https://a/" + "x" * 3_000, ""), ("https://a/\r\nX: y", ""),
        ("https://a", "category"), ("https://a", "colour=red"), ("https://a", "confidence=2"),
        ("https://a", "cooldown=nan"), ("https://a", "cooldown=-1"), ("https://a", "category=,"),
        ("https://a", "&".join(["camera=x"] * 200)),
    ],
)  # fmt: skip
def test_a_webhook_that_makes_no_sense_is_refused(url: str, words: str) -> None:
    """One line says what is expected."""
    with pytest.raises(BadFilter):
        event_filter.webhook(url, words)


def test_a_job_s_webhooks_are_bounded() -> None:
    """An address stands there once; another category than the model's, or a ninth address, is refused."""
    known = tuple(event_filter.webhook(f"https://a/{number}", "") for number in range(event_filter.MOST_WEBHOOKS))
    again = event_filter.webhook("https://a/3", "category=person")
    assert event_filter.with_webhook(known, again, MODEL.classes)[-1] == again
    with pytest.raises(BadFilter, match="at most"):
        event_filter.with_webhook(known, event_filter.webhook("https://b", ""), MODEL.classes)
    with pytest.raises(BadFilter, match="animal, person, vehicle"):
        event_filter.with_webhook((), event_filter.webhook("https://b", "category=yeti"), MODEL.classes)
