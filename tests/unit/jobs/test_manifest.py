"""Names, addresses, lists and duplicates: the rules of a manifest, by their properties."""

import io
import json
import os
from unittest.mock import patch
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.jobs import lists, manifest
from trapstream.jobs.manifest import Notes, SourceError
from trapstream.jobs.sources import Seen

file_names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)
strings = st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text)


def stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


def items(data: bytes, name: str = "list") -> list[lists.Item]:
    read = stream(data)
    return list(lists.form_of(read, name)(read, name))


@given(file_names)
def test_every_path_comes_back_from_its_address(name: bytes) -> None:
    """A file:// address is plain ASCII and gives back every byte of the path."""
    uri = manifest.file_uri(b"/folder/" + name)
    assert uri.isascii() and uri.isprintable() and " " not in uri
    assert unquote_to_bytes(uri.removeprefix("file://")) == b"/folder/" + name
    assert urlsplit(uri).query == urlsplit(uri).fragment == ""


@given(file_names)
def test_every_name_is_valid_unicode(name: bytes) -> None:
    """A name in the result can be written as JSON, whatever bytes it was; UTF-8 stays as it is."""
    text = manifest.as_text(name)
    assert msgspec.json.decode(msgspec.json.encode(text)) == text
    try:
        assert text == name.decode()
    except UnicodeDecodeError:
        assert "\\x" in text


@given(st.lists(st.sampled_from([b"", b".", b"..", b"a", b"b.jpg", b" "]), min_size=1, max_size=8), st.booleans())
def test_normalising_changes_no_place(steps: list[bytes], rooted: bool) -> None:
    """A path without its empty steps and dots is the same place, and normalising again changes nothing."""
    path = (b"/" if rooted else b"") + b"/".join(steps)
    short = manifest.normalised(path)
    assert manifest.normalised(short) == short
    assert os.path.normpath(b"/r/" + short) == os.path.normpath(b"/r/" + path)


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=4).map(lambda s: "/".join(s).encode()), unique=True, min_size=2)
)
def test_prefixes_tell_sources_apart(bases: list[bytes]) -> None:
    """No two images of different folders get one name once the prefixes stand before them."""
    front = manifest.prefixes(bases)
    if any(front.values()):
        assert len(set(front.values())) == len(bases)


def test_prefixes_are_as_short_as_they_can_be() -> None:
    """The base names where they differ; one name more of each where they do not."""
    assert manifest.prefixes([b"/x/cam1", b"/x/cam2"]) == {b"/x/cam1": "cam1/", b"/x/cam2": "cam2/"}
    assert manifest.prefixes([b"/x/1/DCIM", b"/x/2/DCIM"]) == {b"/x/1/DCIM": "1/DCIM/", b"/x/2/DCIM": "2/DCIM/"}


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        (b"https://host/a%20b.jpg?token=x&y=1", "https://host/a%20b.jpg?token=x&y=1"),
        (b"https://host/a b.jpg", "https://host/a%20b.jpg"),
        ("https://host/ö.jpg".encode(), "https://host/%C3%B6.jpg"),
        (b"s3://bucket/100%/a b?.jpg", "s3://bucket/100%25/a%20b%3F.jpg"),
        (b"GS://bucket/a.jpg", "gs://bucket/a.jpg"),
    ],
)
def test_urls_become_addresses(url: bytes, uri: str) -> None:
    """HTTP URLs stay as they are but for what no URL may hold; object keys are raw and get encoded."""
    assert manifest.url_uri(url) == uri


@given(st.lists(st.tuples(strings, st.none() | strings)))
def test_a_json_list_is_read_as_it_was_written(entries: list[tuple[str, str | None]]) -> None:
    """Strings and pairs come back in order."""
    written = [file if meta is None else [file, meta] for file, meta in entries]
    for text in (json.dumps(written), json.dumps(written, ensure_ascii=False, indent=1)):
        found = list(lists.parse_json(stream(text.encode()), "list.json"))
        assert [(item.location.decode(), item.meta) for item in found] == entries


@given(st.lists(st.tuples(strings, st.none() | strings)))
def test_jsonl_is_read_as_it_was_written(entries: list[tuple[str, str | None]]) -> None:
    """Objects with file and meta come back in order."""
    text = "".join(json.dumps({"file": file, "meta": meta}) + "\n" for file, meta in entries)
    read = stream(text.encode())
    found = list(lists.parse_jsonl(read, "list.jsonl"))
    assert [(item.location.decode(), item.meta) for item in found] == entries


@given(st.lists(file_names.filter(lambda name: b"\n" not in name and b"\r" not in name and name.strip())))
def test_text_lists_keep_every_byte(names: list[bytes]) -> None:
    """A line is a name, byte for byte, spaces at its ends included; blank lines are none."""
    read = stream(b"\n \n".join([b"\xef\xbb\xbf", *names, b"\r\n"]))
    assert [item.location for item in lists.parse_text(read, "list.txt")] == names


@given(st.lists(file_names.filter(lambda name: b"\n" not in name and b"\r" not in name and name.strip()), min_size=1))
def test_lines_that_end_with_carriage_returns_alone(names: list[bytes]) -> None:
    """As old programs of the Macintosh write them."""
    assert [item.location for item in lists.parse_text(stream(b"\r".join([*names, b""]) + b"\r"), "list.txt")] == names


def test_names_that_python_wrote_with_surrogates_are_the_bytes_they_stand_for() -> None:
    """json.dump of a folder's listing gives back the names that are not UTF-8."""
    assert items(json.dumps([os.fsdecode(b"caf\xe9.jpg")]).encode()) == [lists.Item(b"caf\xe9.jpg")]


def test_the_form_is_seen_in_the_name_or_in_the_first_character() -> None:
    """A suffix decides; without one, [ begins a JSON list and { a line of JSONL."""
    assert items(b'\n ["a.jpg"]')[0].location == b"a.jpg"
    assert items(b'{"file": "a.jpg", "uri": "s3://b/a%20b.jpg", "other": 1}')[0] == lists.Item(
        b"s3://b/a%20b.jpg", "a.jpg", None, is_uri=True
    )
    assert items(b"[cam]/a.jpg\n", "list.txt")[0].location == b"[cam]/a.jpg"
    assert items(b"\xef\xbb\xbfa.jpg\r\n\r\nb.jpg") == [lists.Item(b"a.jpg"), lists.Item(b"b.jpg")]
    assert items(b"[]") == []


@pytest.mark.parametrize(
    ("name", "data", "line", "expected"),
    [
        ("l.json", b"not json", 1, "a JSON list of strings"),
        ("l.json", b'{"images": []}', 1, "a JSON list of strings"),
        ("l.json", b'["a.jpg",\n"b.jpg",\n7]', 3, "found a number"),
        ("l.json", b'["a.jpg",\n["b.jpg", "m", "n"]]', 2, "found a list"),
        ("l.json", b'["a.jpg",\n["b.jpg", {}]]', 2, "pair of strings"),
        ("l.json", b'["a.jpg"\n"b.jpg"]', 2, "expected ,"),
        ("l.json", b'["a.jpg",\n"b.jpg"', 2, "] is missing"),
        ("l.json", b'["a.jpg",\n]', 2, "not JSON"),
        ("l.json", b'["a.jpg"]\nmore', 2, "nothing after the list"),
        ("l.json", b'["a.jpg",\n"\\ud83d"]', 2, "not valid Unicode"),
        ("l.json", b'["a.jpg",\n""]', 2, "empty"),
        ("l.json", b'["a\\u0000"]', 1, "zero byte"),
        ("l.json", b'["a.jpg",\n"\xff\xfe"]', 2, "not UTF-8"),
        ("l.json", b"[" * 100_000, 1, "nested too deep"),
        ("l.json", b'["' + b"x" * 40_000 + b'"]', 1, "longer than"),
        ("l.json", b'["' + b"x" * 400_000 + b'"]', 1, "longer than"),
        ("l.jsonl", b'{"file": "a"}\n\n{"file": 3}', 3, '"file" must be a string'),
        ("l.jsonl", b'{"file": "a"}\n{"name": "b"}', 2, 'an object with "file" or "uri"'),
        ("l.jsonl", b'{"file": "a"}\n"b"', 2, "found a string"),
        ("l.jsonl", b'{"file": "a"}\n{"file"', 2, "not JSON"),
        ("l.jsonl", b'{"file": "a", "meta": "\\ud83d"}', 1, "not valid Unicode"),
        ("l.txt", b"a.jpg\n" + b"x" * 40_000, 2, "longer than"),
    ],
)
def test_a_wrong_list_names_its_line_and_what_was_expected(name: str, data: bytes, line: int, expected: str) -> None:
    """The message is one line with the list's name, the line's number and what should stand there."""
    with pytest.raises(SourceError) as caught:
        items(data, name)
    message = str(caught.value)
    assert message.startswith(f"{name}, line {line}: ") and expected in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("l.txt", "a.jpg".encode("utf-16"), "UTF-16"),
        ("photo", b"\xff\xd8\xff\xe0\0\x10JFIF", "neither an image by its name nor a list"),
        ("l.csv", b"a.jpg,1\n", "CSV is no list"),
    ],
)
def test_what_is_no_list_is_said(name: str, data: bytes, expected: str) -> None:
    """A file that is no list is refused before a line of it is taken for a path."""
    with pytest.raises(SourceError, match=expected):
        items(data, name)


@given(st.lists(st.lists(st.binary(max_size=2), max_size=30), max_size=30))
def test_seen_is_a_set(batches: list[list[bytes]]) -> None:
    """It says new exactly where a set would, across and within batches."""
    seen, known = Seen(), set[bytes]()
    with patch("trapstream.jobs.sources.MOST_RUN", 64):
        for batch in batches:
            expected = []
            for name in batch:
                expected.append(name not in known)
                known.add(name)
            assert seen.add(batch) == expected


def test_notes_count_all_and_name_the_first() -> None:
    """What was left out is one line a kind, in order, and no name breaks the line."""
    notes = Notes(most=2)
    for name in ("a\nb", "c", "d"):
        notes.add("left out", name)
    assert notes.lines() == ["3 left out: a\\nb, c, ..."]
