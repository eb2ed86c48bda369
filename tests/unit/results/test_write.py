"""The result file: MegaDetector's rules, and nothing but the job and its entries in the bytes."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import megadetector_rules
from tests.unit.values import MODEL, job_spec
from trapstream.core.errors import BadMessage
from trapstream.core.messages import Counts, JobSpec
from trapstream.results.read import open_result
from trapstream.results.write import write_result

ENTRIES = [
    b'{"file":"a/\xc3\xa9.jpg","detections":[{"category":"1","conf":1.0,"bbox":[0.0,0.0,1.0,1.0]}]}',
    b'{"file":"b.jpg","detections":[]}',
    b'{"file":"c.jpg","failure":"image access failure: not found","detections":null}',
]
COUNTS = Counts(detected=1, empty=1, failed={"not found": 1})


def _bytes(spec: JobSpec, counts: Counts, entries: list[bytes]) -> bytes:
    out = io.BytesIO()
    write_result(spec, counts, entries, out)
    return out.getvalue()


def test_format() -> None:
    """The file keeps MegaDetector's rules, holds the entries as they are, and gives its account."""
    data = json.loads(_bytes(job_spec(total=3), COUNTS, ENTRIES))
    assert megadetector_rules.check_data(data) == []
    assert list(data) == ["info", "detection_categories", "images"]
    assert data["images"] == [json.loads(entry) for entry in ENTRIES]
    assert data["detection_categories"] == MODEL.classes
    assert data["info"]["format_version"] == "1.6"
    assert data["info"]["detector"] == "demonstration_v1.onnx"
    account = data["info"]["custom_metadata"]["trapstream"]
    assert account["complete"] is True
    assert account["images"] == account["detected"] + account["empty"] + sum(account["failed"].values())


def test_what_was_left_out_stands_in_the_account() -> None:
    """By kind, in an order that does not change; without any the key is missing, as before."""
    given = job_spec(total=3, left_out={"videos": 2, "other files": 1})
    account = json.loads(_bytes(given, COUNTS, ENTRIES))["info"]["custom_metadata"]["trapstream"]
    assert list(account["left_out"].items()) == [("other files", 1), ("videos", 2)]
    assert b"left_out" not in _bytes(job_spec(total=3), COUNTS, ENTRIES)


def test_nothing_of_the_run_in_the_bytes() -> None:
    """Two jobs over the same images give the same bytes, whatever their ids, names, times and lanes."""
    one = job_spec(total=3)
    other = job_spec(total=3, job="another", name="other", created=2.0)
    assert _bytes(one, COUNTS, ENTRIES) == _bytes(other, COUNTS, ENTRIES)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"total": 3}, "completed"),
        ({"total": 3, "cancelled": True}, "completed"),
        ({"total": 4, "cancelled": True}, "cancelled"),
        ({"total": None}, "partial"),
        ({"total": 4}, "partial"),
        ({"failed": "no"}, "failed"),
    ],
)
def test_state(changes: dict[str, object], state: str) -> None:
    """The file says whether it is whole, and if not, why."""
    data = json.loads(_bytes(job_spec(**changes), COUNTS, ENTRIES))
    account = data["info"]["custom_metadata"]["trapstream"]
    assert (account["state"], account["complete"]) == (state, state == "completed")


def test_false_account_is_refused() -> None:
    """A file whose account and entries differ is not written to its end."""
    with pytest.raises(ValueError, match="2 entries"):
        _bytes(job_spec(total=3), COUNTS, ENTRIES[:2])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_read_back(tmp_path: Path, number: int) -> None:
    """Our own file is read as a stream, the same file in another layout as a whole, with the same answer."""
    own, foreign = tmp_path / "own.json", tmp_path / "foreign.json"
    some = Counts(empty=number)
    own.write_bytes(_bytes(job_spec(total=number), some, ENTRIES[:number]))
    foreign.write_text(json.dumps(json.loads(own.read_bytes()), indent=1))
    streamed, whole = open_result(own), open_result(foreign)
    assert (streamed.streams, whole.streams) == (True, False)
    assert list(streamed.entries()) == list(whole.entries())
    assert len(list(streamed.entries())) == number
    assert streamed.info == whole.info
    assert streamed.account["images"] == number


@settings(max_examples=50)
@given(cut=st.integers(1, 2_000))
def test_cut_file_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """A file that lost its end is never read as a whole one."""
    whole = _bytes(job_spec(total=3), COUNTS, ENTRIES)
    path = tmp_path_factory.mktemp("cut") / "result.json"
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    with pytest.raises(BadMessage):
        list(open_result(path).entries())


def test_rules_find_faults() -> None:
    """The rules that other tests lean on do find what MegaDetector's validator refuses."""
    good = json.loads(_bytes(job_spec(total=3), COUNTS, ENTRIES))
    assert megadetector_rules.check_data(good) == []
    faulty: list[dict[str, object]] = [
        {"file": "a", "detections": [{"category": "1", "conf": 1, "bbox": [0, 0, 1, 1]}]},
        {"file": "a", "detections": [{"category": "9", "conf": 1.0, "bbox": [0, 0, 1, 1]}]},
        {"file": "a", "failure": "no", "detections": []},
        {"file": "a", "failure": "no"},
        {"file": "a"},
        {"detections": []},
        {"file": "a.mp4", "detections": []},
    ]
    for entry in faulty:
        assert megadetector_rules.check_data(good | {"images": [entry]}) != []
    assert megadetector_rules.check_data(good | {"info": {"format_version": 1.6}}) != []
    assert megadetector_rules.check_data(good | {"extra": 1}) != []
