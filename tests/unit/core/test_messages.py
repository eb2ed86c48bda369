"""The wire contract."""

import json
import re
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.values import image_ref, image_result, job_spec
from trapstream.core import messages
from trapstream.core.errors import BadMessage, Reason
from trapstream.core.messages import (
    JOB_PATTERN,
    MOST_IMAGES,
    Counts,
    DeadLetter,
    ImageRef,
    ImageResult,
    JobSpec,
    JobState,
    JobStatus,
    Outcome,
    ResultHead,
)

KINDS = (ImageRef, ImageResult, ResultHead, JobSpec, JobStatus, DeadLetter)
SAMPLES: list[messages.Message] = [
    image_ref(meta='{"site": "7"}'),
    image_result(),
    image_result(outcome=Outcome.FAILED, reason=Reason.DAMAGED),
    job_spec(total=3),
    JobStatus(job="job-1", state=JobState.RUNNING, total=None, counts=Counts(empty=2, failed={"damaged image": 1})),
    DeadLetter(topic="images.bulk", partition=0, offset=9, reason="not JSON", value="eA=="),
]

text = st.text(st.characters(codec="utf-8"), max_size=60)
jobs = st.from_regex(re.compile(JOB_PATTERN, re.ASCII), fullmatch=True)
seqs = st.integers(0, MOST_IMAGES - 1)


def changed(message: messages.Message, **fields: object) -> bytes:
    """The message's bytes with some fields set to something else."""
    return msgspec.json.encode(msgspec.json.decode(messages.encode(message)) | fields)


def decode_any(value: bytes | None) -> list[object]:
    """What each kind makes of `value`: a value or a BadMessage. Anything else is raised."""
    found: list[object] = []
    for kind in KINDS:
        try:
            found.append(messages.decode(value, kind))  # type: ignore[type-var]  # each kind in turn
        except BadMessage as error:
            found.append(error)
    return found


@given(job=jobs, seq=seqs, file=text, uri=text, meta=st.none() | text)
def test_a_reference_comes_back_as_it_was_sent(job: str, seq: int, file: str, uri: str, meta: str | None) -> None:
    """Any reference survives the wire: names with quotes, newlines and emoji too."""
    ref = ImageRef(job=job, seq=seq, file=file, uri=uri, meta=meta)
    assert messages.decode(messages.encode(ref), ImageRef) == ref


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_kind_comes_back_as_it_was_sent(message: messages.Message) -> None:
    """Each kind of message survives the wire."""
    assert messages.decode(messages.encode(message), type(message)) == message  # type: ignore[type-var]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_names_its_version(message: messages.Message) -> None:
    """The version is on the wire, also where defaults are left out."""
    assert json.loads(messages.encode(message)).get("v") == 1


@given(detections=st.lists(st.floats(0, 1), max_size=3), file=text)
def test_the_entry_travels_ready_made(detections: list[float], file: str) -> None:
    """The fold reads the entry's bytes exactly as the consumer wrote them."""
    entry = msgspec.json.encode({"file": file, "detections": detections})
    head = messages.decode(messages.encode(image_result(4, entry=msgspec.Raw(entry))), ResultHead)
    assert bytes(head.entry) == entry
    assert (head.job, head.seq, head.outcome) == ("job-1", 4, Outcome.EMPTY)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_an_unknown_version_is_refused(message: messages.Message, version: object) -> None:
    """A reader takes no message of a version that it does not know."""
    value = changed(message, v=version)
    with pytest.raises(BadMessage):
        messages.decode(value, type(message))  # type: ignore[type-var]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_an_unknown_field_is_ignored(message: messages.Message) -> None:
    """A field that a later release adds does not stop this one."""
    value = changed(message, new=[1, {"a": None}])
    assert messages.decode(value, type(message)) == message  # type: ignore[type-var]


def test_a_job_of_a_release_without_fixed_inputs_is_read() -> None:
    """A model that says nothing of a fixed input takes any size."""
    value = json.loads(messages.encode(job_spec()))
    del value["model"]["fixed"], value["model"]["stretch"]
    assert messages.decode(json.dumps(value).encode(), JobSpec) == job_spec()


@pytest.mark.parametrize(
    "changes",
    [
        {"job": ""},
        {"job": "../escape"},
        {"job": "a.b"},
        {"job": "x" * 129},
        {"job": 7},
        {"seq": -1},
        {"seq": MOST_IMAGES},
        {"seq": 1.5},
        {"seq": 2**64},
        {"seq": True},
        {"file": None},
        {"uri": 3},
        {"meta": {}},
    ],
    ids=repr,
)
def test_a_reference_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    """An id that could leave its folder, or a place beyond the largest manifest, is a bad message."""
    value = changed(image_ref(), **changes)
    with pytest.raises(BadMessage):
        messages.decode(value, ImageRef)


@pytest.mark.parametrize("job", ["job-1\n", "job\n"])
def test_a_newline_ends_no_id(job: str) -> None:
    """A line break at the end of an id is not overlooked."""
    value = changed(image_ref(), job=job)
    with pytest.raises(BadMessage):
        messages.decode(value, ImageRef)


def _nested(depth: int) -> bytes:
    return b'{"v":1,"job":"a","seq":0,"outcome":"empty","reason":null,"entry":' + b"[" * depth + b"]" * depth + b"}"


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe")
@example(b'{"v":1,"job":"\xff","seq":0,"file":"a","uri":"b"}')
@example(b'{"v":1,"job":"a","seq":0,"file":"\\ud800","uri":"b"}')
@example(b'{"v":1,"job":"a","seq":1e999,"file":"a","uri":"b"}')
@example(b'{"v":1,"job":"a","seq":' + b"9" * 5000 + b"}")
@example(b"[" * 100_000)
@example(_nested(100_000))
@example(b'{"v":1,"x":' + b'{"x":' * 100_000)
@example(b"null")
@example(b'"text"')
@example(b"NaN")
def test_bytes_of_any_kind_are_a_value_or_a_bad_message(value: bytes) -> None:
    """Whatever bytes arrive, decoding ends in a value or in BadMessage, never in another error."""
    decode_any(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = sorted({name for kind in KINDS for name in kind.__struct_fields__})


@given(st.dictionaries(st.sampled_from(fields), json_values, max_size=12))
def test_json_of_any_shape_is_a_value_or_a_bad_message(value: dict[str, object]) -> None:
    """Known fields with values of any type are told apart too."""
    decode_any(json.dumps(value).encode())


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_message_is_a_value_or_a_bad_message(message: messages.Message, data: st.DataObject) -> None:
    """A real message that is cut, or has bytes changed, never raises another error."""
    value = bytearray(messages.encode(message))
    for _ in range(data.draw(st.integers(0, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    decode_any(bytes(value[: data.draw(st.integers(0, len(value)))]))


def test_no_value_is_a_bad_message() -> None:
    """A message without a value is refused with its reason."""
    with pytest.raises(BadMessage, match="no value"):
        messages.decode(None, ImageRef)


@given(text)
def test_a_new_id_may_stand_in_file_names_and_keys(name: str) -> None:
    """Whatever the job is called, its id fits the pattern and says something of the name."""
    assert re.fullmatch(JOB_PATTERN, messages.new_job_id(name), re.ASCII)


def test_two_jobs_of_one_name_have_two_ids() -> None:
    """Submitting twice makes two jobs."""
    assert len({messages.new_job_id("archive") for _ in range(100)}) == 100


@given(st.integers(0, 9), st.integers(0, 9), st.dictionaries(text, st.integers(0, 9), max_size=4))
def test_the_account_adds_up(detected: int, empty: int, failed: dict[str, int]) -> None:
    """done = detected + empty + failed."""
    assert Counts(detected=detected, empty=empty, failed=failed).done == detected + empty + sum(failed.values())


@pytest.mark.parametrize("make", [image_ref, image_result])
def test_messages_are_frozen(make: Callable[[], msgspec.Struct]) -> None:
    """A message cannot be changed once it is made."""
    with pytest.raises(AttributeError):
        make().seq = 1  # type: ignore[attr-defined]
