"""Cards: read back as written, refused with a reason, and tied to their graph."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trapstream.models.card import Card, CardError, parse_card, read_card, sha256_of, write_card


def values(**changes: Any) -> dict[str, Any]:
    card = {
        "name": "owl",
        "version": "2",
        "family": "test",
        "classes": {"1": "animal", "2": "person"},
        "image_size": 640,
        "stride": 32,
        "typical_detection_threshold": 0.3,
        "conservative_detection_threshold": 0.1,
        "precision": "float32",
        "sha256": "0" * 64,
        "source": "drawn",
        "licence": "Apache-2.0",
    }
    return {**card, **changes}


def bundle(folder: Path, **changes: Any) -> Path:
    (folder / "model.onnx").write_bytes(b"a graph")
    path = folder / "card.json"
    path.write_text(json.dumps(values(sha256=sha256_of(folder / "model.onnx")) | changes))
    return path


def test_a_card_reads_back_as_written(tmp_path: Path) -> None:
    card = read_card(bundle(tmp_path))
    assert card.name == "owl"
    write_card(tmp_path / "again.json", card)
    assert read_card(tmp_path / "again.json") == card


def test_a_card_of_twelve_classes() -> None:
    classes = {str(index): f"kind {index}" for index in range(1, 13)}
    assert len(parse_card(json.dumps(values(classes=classes)).encode()).classes) == 12


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"stride": "32"}, "stride"),
        ({"image_size": 650}, "multiple of stride"),
        ({"classes": {"0": "animal"}}, "numbered from 1"),
        ({"classes": {}}, "numbered from 1"),
        ({"typical_detection_threshold": 1.5}, "thresholds"),
        ({"conservative_detection_threshold": 0.9}, "thresholds"),
        ({"name": ""}, "name"),
        ({"fixed": [480, 320]}, "longest side of fixed"),
        ({"fixed": [0, 640]}, "longest side of fixed"),
        ({"fixed": [480]}, "fixed"),
        ({"stretch": True}, "only a fixed input"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(CardError, match=part):
        parse_card(json.dumps(values(**changes)).encode())


def test_a_missing_field_is_named() -> None:
    short = values()
    del short["licence"]
    with pytest.raises(CardError, match="licence"):
        parse_card(json.dumps(short).encode())


def test_text_that_is_not_json() -> None:
    with pytest.raises(CardError, match=r"card\.json"):
        parse_card(b"{")


def test_another_graph_is_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(CardError, match="sha256"):
        read_card(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="No such file"):
        read_card(tmp_path / "card.json")
    path = bundle(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(CardError, match=r"model\.onnx"):
        read_card(path)


def test_a_card_is_frozen() -> None:
    card = msgspec.convert(values(), Card)
    with pytest.raises(AttributeError):
        card.name = "other"  # type: ignore[misc]


def test_an_old_card_says_nothing_of_a_fixed_input() -> None:
    """A card without the fields of a fixed input is of a model of any size."""
    card = parse_card(json.dumps(values()).encode())
    assert (card.fixed, card.stretch) == (None, False)


def test_a_job_carries_what_its_model_takes() -> None:
    """Consumers have no model store: fixed and stretch travel with the job."""
    info = parse_card(json.dumps(values(fixed=[480, 640], stretch=True)).encode()).info
    assert (info.fixed, info.stretch) == ((480, 640), True)
