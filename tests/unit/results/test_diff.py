"""What changed between two result files: every image once, in its place, by the classes at the threshold."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trapstream.core.errors import BadMessage
from trapstream.results.contact_sheet import draw_changes
from trapstream.results.diff import CHANGED, DRAWN, Change, Kind, Largest, Side, change, compare, summary, write_changes
from trapstream.results.entry import Detection, Entry

NAMES = {"1": "animal", "2": "person", "3": "vehicle"}
OTHER = {"1": "vehicle", "2": "animal", "3": "person"}
boxes = st.builds(
    Detection,
    conf=st.integers(0, 10).map(lambda tenths: tenths / 10),
    category=st.sampled_from(sorted(NAMES)),
    bbox=st.just((0.1, 0.1, 0.2, 0.2)),
)
answers = st.one_of(
    st.builds(lambda found: (found, None), st.lists(boxes, max_size=4)),
    st.just((None, "image access failure: not found")),
)
pairs = st.lists(st.tuples(answers, answers), max_size=12)
sides = st.builds(Side, threshold=st.sampled_from([0.1, 0.2, 0.5]), names=st.sampled_from([NAMES, OTHER]))


def entries(found: list[tuple[list[Detection] | None, str | None]]) -> list[Entry]:
    """Entries with a name for each place."""
    return [Entry(f"{number}.jpg", detections, failure) for number, (detections, failure) in enumerate(found)]


def classes(entry: Entry, side: Side) -> set[str] | None:
    """The answer, said as plainly as may be."""
    if entry.failure is not None:
        return None
    return {side.names[box.category] for box in entry.detections or [] if box.conf >= side.threshold}


def expected(was: set[str] | None, now: set[str] | None) -> Kind:
    """The kind, case by case."""
    table = {
        (True, True): Kind.BOTH_FAIL,
        (True, False): Kind.ANSWERED,
        (False, True): Kind.FAILS,
    }
    if was is None or now is None:
        return table[was is None, now is None]
    if was == now:
        return Kind.SAME
    if not was:
        return Kind.NEW
    return Kind.CLASS if now else Kind.GONE


@given(pairs, sides, sides)
def test_each_image_is_what_its_classes_say(found: list, before: Side, after: Side) -> None:  # type: ignore[type-arg]
    """Every image appears once and in order, as the sets of its classes say, whatever numbers the classes have."""
    old, new = entries([one for one, _ in found]), entries([other for _, other in found])
    changes = list(compare(old, new, before, after))
    assert [each.file for each in changes] == [entry.file for entry in old]
    assert [each.kind for each in changes] == [
        expected(classes(one, before), classes(other, after)) for one, other in zip(old, new, strict=True)
    ]
    assert all(0 <= each.size <= 1 and (each.kind in DRAWN or each.size == 0) for each in changes)


@given(pairs, sides, sides)
def test_the_other_way_round(found: list, before: Side, after: Side) -> None:  # type: ignore[type-arg]
    """With the sides exchanged new is gone, a failure is an answer, and every change is as large."""
    old, new = entries([one for one, _ in found]), entries([other for _, other in found])
    turned = {Kind.NEW: Kind.GONE, Kind.GONE: Kind.NEW, Kind.FAILS: Kind.ANSWERED, Kind.ANSWERED: Kind.FAILS}
    there = [(turned.get(each.kind, each.kind), each.size) for each in compare(old, new, before, after)]
    assert there == [(each.kind, each.size) for each in compare(new, old, after, before)]


@given(pairs, sides, st.integers(1, 5))
def test_the_largest_and_the_counts(found: list, side: Side, most: int) -> None:  # type: ignore[type-arg]
    """The account adds up, and the kept ones are the first of all that can be drawn, by size and then by place."""
    old, new = entries([one for one, _ in found]), entries([other for _, other in found])
    changes = list(compare(old, new, side, side))
    largest = Largest(most)
    for each in changes:
        largest.add(each)
    assert largest.take() == sorted((c for c in changes if c.kind in DRAWN), key=lambda each: -each.size)[:most]
    assert largest.counts.total() == len(changes)
    assert largest.changed == sum(each.kind in CHANGED for each in changes)
    assert summary(largest.counts)[0].startswith(f"compared {len(changes)} = changed {largest.changed} + same ")


@given(pairs, sides, sides)
def test_the_file_lists_what_changed(found: list, before: Side, after: Side) -> None:  # type: ignore[type-arg]
    """The file is JSON, holds the changed images in order and nothing else, and counts all."""
    old, new = entries([one for one, _ in found]), entries([other for _, other in found])
    out, largest = io.BytesIO(), Largest(1)
    write_changes({"old": {"job": "a"}}, compare(old, new, before, after), before, after, out, largest)
    data = json.loads(out.getvalue())
    changed = [each for each in compare(old, new, before, after) if each.kind in CHANGED]
    assert [(each["file"], each["change"], each["size"]) for each in data["changes"]] == [
        (each.file, each.kind, each.size) for each in changed
    ]
    for written, each in zip(data["changes"], changed, strict=True):
        if each.new.failure is None:
            assert {one["class"] for one in written["new"]["detections"]} == classes(each.new, after)
        else:
            assert written["new"] == {"failure": each.new.failure}
    assert data["counts"]["compared"] == len(old) and data["counts"]["changed"] == len(changed)
    assert data["old"] == {"job": "a"}


def test_the_size_is_the_difference_in_confidence() -> None:
    """A class that slips just below the threshold is a small change; one that vanishes is a large one."""
    side = Side(0.5, NAMES)
    sure = Entry("a.jpg", [Detection("1", 0.51)])
    assert change(sure, Entry("a.jpg", [Detection("1", 0.49)]), side, side) == Change(
        Kind.GONE, 0.02, sure, Entry("a.jpg", [Detection("1", 0.49)])
    )
    assert change(sure, Entry("a.jpg", []), side, side).size == 0.51


@pytest.mark.parametrize("names", [["a", "c"], ["b", "a"], ["a"], ["a", "b", "c"]])
def test_files_of_other_images_are_refused(names: list[str]) -> None:
    """Files that do not walk in step are not compared, and the entry is named."""
    side = Side(0.5, NAMES)
    one, other = [Entry("a"), Entry("b")], [Entry(name) for name in names]
    with pytest.raises(BadMessage, match=r"not of the same images: entry \d is "):
        list(compare(one, other, side, side))


def test_the_sheet_shows_both_sides(tmp_path: Path) -> None:
    """Each image stands twice, with each model's boxes; one that cannot be opened is left out."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (480, 360), "#000000").save(picture)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    sides = ("cat@1", Side(0.5, NAMES)), ("cat@2", Side(0.5, NAMES))
    found = [
        Change(Kind.NEW, 0.9, Entry(name, []), Entry(name, [Detection("1", 0.9, (0.25, 0.25, 0.5, 0.5))]))
        for name in ("a.png", "bad.jpg", "far.jpg")
    ]
    places = {"a.png": picture, "bad.jpg": tmp_path / "bad.jpg"}
    sheet = tmp_path / "sheet"
    assert draw_changes(found, places, *sides, "a title", sheet) == 1
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"
        orange = [x for x in range(drawn.width) if drawn.getpixel((x, 54 + 180)) == (255, 176, 0)]
    assert orange and min(orange) > 490, "the box belongs to the right picture alone"
    assert draw_changes(found[1:], places, *sides, "a title", tmp_path / "none.png") == 0
    assert not (tmp_path / "none.png").exists()
