"""What senders may name, and the periods that jobs are made of."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.live import periods
from trapstream.core.messages import JOB_PATTERN
from trapstream.jobs import names

UTC_ZONE = periods.zone_of("UTC")


@given(st.text(max_size=400))
def test_a_name_leads_nowhere(given_name: str) -> None:
    """Whatever a sender calls a file, its name is relative, without steps upwards, printable, and of bounded length."""
    name = names.harmless(given_name)
    assert not name.startswith("/") and "\\" not in name
    assert all(step not in ("", ".", "..") for step in name.split("/")) or name == ""
    assert all(sign.isprintable() for sign in name)
    assert len(name.encode()) <= 512
    assert names.harmless(name) == name


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("IMG_0001.JPG", "IMG_0001.JPG"),
        ("../../etc/passwd.jpg", "etc/passwd.jpg"),
        ("/srv/ftp/7/a.jpg", "srv/ftp/7/a.jpg"),
        ("C:\\DCIM\\100\\a.jpg", "DCIM/100/a.jpg"),
        ("a\0b\n.jpg", "ab.jpg"),
        ("räude/ß.jpg", "räude/ß.jpg"),
        ("x" * 300 + ".jpg", "x" * 116 + ".jpg"),
        ("/../..", ""),
    ],
)
def test_paths_are_made_harmless(given_name: str, name: str) -> None:
    """What a path keeps: its steps downwards, and its suffix."""
    assert names.harmless(given_name) == name


@given(st.lists(st.sampled_from(["a.jpg", "b/a.jpg", "a~2.jpg", "none", ".x"]), max_size=12))
def test_names_become_unique(wanted: list[str]) -> None:
    """No two images of a job share a name, and the first one keeps its own."""
    taken: set[str] = set()
    for name in wanted:
        found = names.unique(name, taken)
        assert found not in taken
        assert found == name or name in taken
        taken.add(found)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a/b", "ä", "a" * 65, "a.b", "a\n", "../x"])
def test_a_series_has_a_name_that_fits_a_job(text: str) -> None:
    """What could not be part of a job's id is refused with a line."""
    with pytest.raises(names.BadName, match="1 to 64 letters"):
        names.series_name(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2026:11:23 05:12:44", "2026:11:23 05:12:44"),
        ("2026-11-23T05:12:44", "2026:11:23 05:12:44"),
        ("2026-11-23T05:12:44.120+03:00", "2026:11:23 05:12:44"),
        ("2026-11-23T05:12:44Z", "2026:11:23 05:12:44"),
        ("0001-01-01T00:00:00", "0001:01:01 00:00:00"),
        ("0001:01:01 00:00:00", "0001:01:01 00:00:00"),
        ("0987-06-05T04:03:02+00:00", "0987:06:05 04:03:02"),
    ],
)
def test_a_capture_time_is_the_wall_clock_of_the_place(text: str, taken: str) -> None:
    """It stands in the entry as EXIF has it, without an offset."""
    assert names.captured(text) == taken


NO_TIMES = [
    "", "yesterday", "2026-13-01T00:00:00", "1763874764", "2026:11:23 25:00:00", "0000:00:00 00:00:00",
    "2026:11:23 24:00:01", "2026-02-30T05:12:44", "2026-02-29 05:12:44", "2026-11-23T05:12:60", "0000-01-01T00:00:00",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_capture_time_is_refused(text: str) -> None:
    """With a line that shows the form."""
    with pytest.raises(names.BadName, match="is written as"):
        names.captured(text)


MOMENTS = st.floats(0, 4e9)
LENGTHS = st.sampled_from([1, 5, 60, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600])
ZONES = st.sampled_from(["UTC", "Africa/Nairobi", "Asia/Kathmandu", "America/St_Johns"]).map(periods.zone_of)


@given(MOMENTS, LENGTHS, ZONES)
def test_labels_are_ids_and_grow(now: float, seconds: int, zone: tzinfo) -> None:
    """A period's label makes a job's id; a later period has a greater one, also across a change of the clocks."""
    label = periods.label_of(now, seconds, zone)
    assert re.match(JOB_PATTERN, periods.job_id("a" * 64, label, 1_000))
    later = periods.label_of(now + seconds + 7200, seconds, zone)
    assert later > label


@given(MOMENTS, st.sampled_from(["UTC", "Africa/Nairobi", "America/New_York"]).map(periods.zone_of))
def test_a_day_is_the_calendar_day_of_the_zone(now: float, zone: tzinfo) -> None:
    """It begins at midnight there."""
    assert periods.label_of(now, periods.DAY, zone) == f"{datetime.fromtimestamp(now, zone):%Y-%m-%d}"


def test_weeks_begin_on_monday() -> None:
    """So that a week's files are those of a week of people."""
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    labels = {periods.label_of((monday + timedelta(days=n)).timestamp(), 7 * periods.DAY, UTC_ZONE) for n in range(7)}
    assert labels == {"2026-11-23"}


@given(st.sampled_from(["a", "a-2026-11-23", "a-2"]), st.sampled_from(["a", "a-2026-11-23", "a-2"]))
def test_two_series_have_no_job_in_common(one: str, other: str) -> None:
    """Whatever their names look like."""
    labels, numbers = ("2026-11-23", "2026-11-24"), (1, 2, 3)
    ids = [{periods.job_id(name, label, number) for label in labels for number in numbers} for name in (one, other)]
    assert one == other or not ids[0] & ids[1]
