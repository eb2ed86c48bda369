"""What is told, and where a stream goes on: the rules, against models that are obviously right."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import frames, results, resume
from notifier.listening import Listening, Seen
from notifier.results import Found, Record, Result
from notifier.tail import MOST_BYTES, MOST_RECORDS, Ear
from tests.unit.values import MODEL, image_result
from trapstream.core import messages, wishes
from trapstream.core.errors import BadMessage
from trapstream.core.messages import Counts, JobState, JobStatus, Wish
from trapstream.core.wishes import BadWish

CAMERAS = ["C1", "C2", None]
founds = st.builds(Found, category=st.sampled_from(["1", "2", "9"]), conf=st.sampled_from([0.1, 0.49, 0.5, 0.9]))


@st.composite
def logs(draw: st.DrawFn) -> list[Result]:
    """A job's results in the order of the log: some images twice, the time going on, other jobs between."""
    made, offset, time = [], 0, 1_000_000.0
    for _ in range(draw(st.integers(0, 12))):
        offset += draw(st.integers(1, 3))
        time += draw(st.sampled_from([0.0, 1.0, 5.0, 20.0]))
        found = tuple(draw(st.lists(founds, max_size=2)))
        camera = draw(st.sampled_from(CAMERAS))
        made.append(
            Result(offset, time, "job-1", draw(st.integers(0, 8)), "empty", "a.jpg", camera, found, msgspec.Raw(b"{}"))
        )
    return made


some_wishes = st.builds(
    Wish,
    categories=st.sampled_from([(), ("animal",), ("2", "animal")]),
    confidence=st.sampled_from([None, 0.2, 0.9]),
    cameras=st.sampled_from([(), ("C1",), ("C1", "C2")]),
    cooldown=st.sampled_from([0.0, 5.0, 30.0]),
)


def told(log: list[Result], wish: Wish) -> list[int]:
    """The offsets that one who listens from the beginning hears of."""
    listening = Listening(wish, MODEL)
    return [result.offset for result in log if listening.hears(result)]


@given(logs(), some_wishes)
def test_what_is_told(log: list[Result], wish: Wish) -> None:
    """The first result of each image that has what is asked for, where its camera was not told just before."""
    ids = {"animal": "1", "2": "2"}
    categories = {ids[name] for name in wish.categories} or set(MODEL.classes)
    lowest = MODEL.typical_threshold if wish.confidence is None else wish.confidence
    everything = wish == Wish(cameras=wish.cameras)
    seen, expected, last = set(), [], dict[str | None, float]()
    for result in log:
        first = result.seq not in seen
        seen.add(result.seq)
        has = everything or any(one.category in categories and one.conf >= lowest for one in result.found)
        if not first or not has or (wish.cameras and result.camera not in wish.cameras):
            continue
        if result.time - last.get(result.camera, float("-inf")) >= wish.cooldown:
            last[result.camera] = result.time
            expected.append(result.offset)
    assert told(log, wish) == expected


@given(logs(), some_wishes, st.data())
def test_a_stream_that_is_resumed_tells_the_same(log: list[Result], wish: Wish, data: st.DataObject) -> None:
    """Cut after any event, it goes on with the next one: no gap, no double, and the cool-down holds across the cut."""
    whole = told(log, wish)
    if not whole:
        return
    after = data.draw(st.sampled_from(whole))
    start = resume.start(resume.event_id(3, after), 3, wish.cooldown > 0)
    listening = Listening(wish, MODEL)
    heard = [result for result in log if result.offset >= (start.place or 0)]
    rest = [result.offset for result in heard if listening.hears(result) and result.offset >= start.told]
    repeats = {result.offset for result in log if any(r.seq == result.seq and r.offset < result.offset for r in log)}
    if wish.cooldown:
        assert rest == whole[whole.index(after) + 1 :]
    else:  # what consumers did twice, on both sides of the cut, may come twice: it has the same name
        assert [offset for offset in rest if offset not in repeats] == whole[whole.index(after) + 1 :]


@pytest.mark.parametrize("last", ["x", "4:1", "3:", "3:-1", "3:1:1", "3:1\n", "³:1", "3:" + "9" * 30])
def test_an_id_of_something_else_is_refused(last: str) -> None:
    """One line that shows what an id looks like; none, an empty one and that of the end begin at the beginning."""
    with pytest.raises(resume.BadId, match="3:1742"):
        resume.start(last, 3, False)
    assert {resume.start(none, 3, True) for none in (None, "", "end")} == {resume.Start(None, 0)}


@given(st.lists(st.integers(0, messages.MOST_IMAGES - 1)))
def test_seen_is_a_set(seqs: list[int]) -> None:
    """As a set would, in a bit for each image."""
    seen, model = Seen(), set[int]()
    for seq in seqs:
        assert seen.first(seq) == (seq not in model)
        model.add(seq)


@given(st.lists(st.integers(0, MOST_BYTES // 100), max_size=120), st.booleans())
@settings(max_examples=20)
def test_an_ear_is_bounded(sizes: list[int], many: bool) -> None:
    """It holds so many records and bytes, or nothing: who falls behind costs no memory."""
    ear = Ear("job-1", asyncio.Event())
    for offset, size in enumerate(sizes + [0] * (MOST_RECORDS + 1) * many):
        ear.add(Record(offset, 0.0, bytes(size)))
        assert len(ear.records) <= MOST_RECORDS
        assert not (ear.lost and ear.records)
    assert sum(len(record.value) for record in ear.records) <= MOST_BYTES
    assert ear.lost == (many or sum(sizes) > MOST_BYTES)


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
    assert results.read(record(entry)).camera == camera


def test_an_event_is_one_line() -> None:
    """Whatever stands in an entry, no line of it passes for a field of the stream; the content is kept."""
    entry = b'{"file": "a\\nid: 9:9\\n\\ndata: x",\n\r\n "detections" : []}'
    found = results.read(record(entry))
    frame = frames.result(found, resume.event_id(3, found.offset))
    assert frame.count(b"\n") == 4 and frame.endswith(b"\n\n") and b"\r" not in frame
    event, number, data = frame.decode().split("\n\n")[0].split("\n")
    assert (event, number) == ("event: result", "id: 3:7")
    shown = msgspec.json.decode(data.removeprefix("data: "))
    assert shown["result"]["file"] == "a\nid: 9:9\n\ndata: x" and shown["id"] == "job-1/0" and shown["time"] == 5.0
    ended = frames.end(JobStatus(job="job-1", state=JobState.COMPLETED, total=1, counts=Counts(empty=1)))
    assert ended.startswith(b"event: end\nid: end\ndata: {") and frames.heartbeat(None) == b": still here\n\n"


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"v":1}', b"[" * 10_000])
def test_what_cannot_be_read_is_told_apart(value: bytes) -> None:
    """A BadMessage, whatever the log holds."""
    with pytest.raises(BadMessage):
        results.read(Record(0, 0.0, value))
    with pytest.raises(BadMessage):
        results.read(record(b'{"detections":7}'))


def test_a_wish_is_read_from_a_query() -> None:
    """Names once or several times, with commas; what is no wish is passed over."""
    query = [("category", "animal, person"), ("category", "3"), ("camera", "C7"), ("confidence", "0.6"), ("x", "y")]
    wish = wishes.wish([*query, ("cooldown", "300")])
    assert wish == Wish(categories=("animal", "person", "3"), confidence=0.6, cameras=("C7",), cooldown=300.0)
    assert wishes.category_ids(wish, MODEL.classes) == {"1", "2", "3"}
    assert wishes.category_ids(Wish(categories=("yeti",)), MODEL.classes) == frozenset()
    hook = wishes.webhook("https://example.org/a?token=b", "category=animal&cooldown=300")
    assert hook.wish == Wish(categories=("animal",), cooldown=300.0)
    assert wishes.place_of("https://me:secret@example.org:8443/a?token=b") == "https://example.org:8443"


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
    with pytest.raises(BadWish):
        wishes.webhook(url, words)


def test_a_job_s_webhooks_are_bounded() -> None:
    """One address has one place; another category than the model's, or a ninth address, is refused."""
    known = tuple(wishes.webhook(f"https://a/{number}", "") for number in range(wishes.MOST_WEBHOOKS))
    again = wishes.webhook("https://a/3", "category=person")
    assert wishes.added(known, again, MODEL.classes)[-1] == again
    with pytest.raises(BadWish, match="at most"):
        wishes.added(known, wishes.webhook("https://b", ""), MODEL.classes)
    with pytest.raises(BadWish, match="animal, person, vehicle"):
        wishes.added((), wishes.webhook("https://b", "category=yeti"), MODEL.classes)
