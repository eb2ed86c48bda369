"""Class maps: what of a model's classes comes out as what."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.models.classes import (
    BUILT_IN,
    MEGADETECTOR,
    ClassMapError,
    apply,
    checked_names,
    choose,
    keep,
    parse_map,
)

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "bird",
    "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "teddy bear",
)  # fmt: skip
words = st.sampled_from(["fox", "deer", "car", "person", "owl", "boat", "ant", "bee"])
names = st.lists(words, min_size=1, unique=True).map(tuple)


@given(names, st.data())
def test_members_are_what_the_map_says(model: tuple[str, ...], data: st.DataObject) -> None:
    """Each class of the results has exactly the members that the map gives it; each class is in one or in none."""
    targets = st.sampled_from(["animal", "person", "vehicle", "bird"])
    wanted = data.draw(st.dictionaries(st.sampled_from(model), targets, min_size=1))
    found = apply(model, wanted)
    assert sorted(found.names) == sorted(set(wanted.values()))
    for name, members in zip(found.names, found.members, strict=True):
        assert {model[index] for index in members} == {one for one, target in wanted.items() if target == name}
    flat = [index for members in found.members for index in members]
    assert len(flat) == len(set(flat)) == len(wanted)


@given(names, st.data())
def test_megadetectors_three_keep_their_numbers(model: tuple[str, ...], data: st.DataObject) -> None:
    """Animal, person and vehicle come first and in that order, whatever the order of the map."""
    wanted = data.draw(st.dictionaries(st.sampled_from(model), st.sampled_from([*MEGADETECTOR, "bird"]), min_size=1))
    found = [name for name in apply(model, wanted).names if name in MEGADETECTOR]
    assert found == [name for name in MEGADETECTOR if name in found]


@given(names)
def test_keep_keeps(model: tuple[str, ...]) -> None:
    """The model's own classes stay as they are, each with itself as its member."""
    found = choose(model, "keep")
    assert found == keep(model)
    assert found.categories == {str(index + 1): name for index, name in enumerate(model)}
    assert found.members == tuple((index,) for index in range(len(model)))


def test_coco() -> None:
    """The map that comes along makes animals, people and vehicles of COCO's classes, and drops the rest."""
    found = choose(COCO, "coco")
    assert found.names == MEGADETECTOR
    assert [[COCO[index] for index in members] for members in found.members] == [
        ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"],
        ["person"],
        ["bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"],
    ]


@pytest.mark.parametrize("model", [MEGADETECTOR, ("Person", "animal", "VEHICLE")])
def test_megadetectors_own_classes_need_no_map(model: tuple[str, ...]) -> None:
    """A model with MegaDetector's three gets them without being told, in its order."""
    found = choose(model, None)
    assert found.names == MEGADETECTOR
    assert [model[members[0]].lower() for members in found.members] == list(MEGADETECTOR)


@pytest.mark.parametrize(
    ("model", "wanted", "words"),
    [
        (COCO, None, "say with --classes"),
        (COCO, "cocoa", "no class map cocoa: there is keep, coco"),
        (COCO, {"zebras": "animal"}, "no class 'zebras'; did you mean zebra"),
        (("deer", "boar"), {"xylophone": "animal"}, "it has deer, boar"),
        (MEGADETECTOR, "coco", "no class 'bird'"),
        (COCO, {}, "is empty"),
        (tuple(f"kind {index}" for index in range(40)), {"xylophone": "animal"}, "and 28 more"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    model: tuple[str, ...], wanted: str | dict[str, str] | None, words: str
) -> None:
    """The unknown class is named, and what it may have been meant to be."""
    with pytest.raises(ClassMapError, match=words) as caught:
        choose(model, wanted)
    assert "\n" not in str(caught.value)


def test_a_map_reads_back() -> None:
    """A JSON object of names is a map."""
    assert parse_map(json.dumps({"fox": "animal", "Käfer": "Tier"}).encode(), "map.json") == {
        "fox": "animal",
        "Käfer": "Tier",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b'{"a": 1}',
        b'{"a": ""}',
        b'{"a": "x\\ny"}',
        b'{"a": {}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_map_is_refused(content: bytes) -> None:
    """One line says what is wrong, with the file's name."""
    with pytest.raises(ClassMapError, match=r"^map\.json: ") as caught:
        parse_map(content, "map.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [(), ("",), ("a", " "), ("x" * 201,), ("a\nb",), tuple(map(str, range(10_001)))])
def test_names_from_outside_are_checked(bad: tuple[str, ...]) -> None:
    """Names that would spoil a card or a message are refused."""
    with pytest.raises(ClassMapError):
        checked_names(bad, "model.onnx")


def test_every_built_in_map_makes_megadetectors_classes() -> None:
    """What comes along is made for the tools that know MegaDetector's three."""
    assert all(set(wanted.values()) <= set(MEGADETECTOR) for wanted in BUILT_IN.values())
