"""SOURCEs on a disk with everything that a disk can hold."""

import json
import os
import resource
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec
import obstore
import pytest

from trapstream.core.result_store import ManifestLine, manifest_path, read_manifest
from trapstream.jobs import buckets, sources, stored_manifest
from trapstream.jobs.manifest import Notes, SourceError

NASTY = [b"a b.jpg", b"\"q'.JPG", b"new\nline.png", "🦊.jpeg".encode(), b"caf\xe9.jpg", b"100%.tif", b"a#b?.webp"]


def lines(*texts: str | Path, notes: Notes | None = None) -> list[ManifestLine]:
    opened = sources.open_sources([str(text) for text in texts])
    return list(sources.manifest_lines(opened, Notes() if notes is None else notes))


def files(*texts: str | Path, notes: Notes | None = None) -> list[str]:
    return [line.file for line in lines(*texts, notes=notes)]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def path_of(line: ManifestLine) -> bytes:
    return unquote_to_bytes(line.uri.removeprefix("file://"))


def test_a_folder_gives_its_images_sorted(tmp_path: Path) -> None:
    """All image suffixes in any case, below it too, in the order of the whole names; nothing else."""
    touch(tmp_path, "b/2.JPG", "b/1.jpg", "b.jpg", "b-1.png", "a/z.TIFF", "notes.txt", "c.gif", "d.bmp", "e.webp")
    touch(tmp_path, ".hidden.jpg", "._b.jpg", ".git/x.jpg", "@eaDir/x.jpg", "a/.thumbs/x.jpg", "Thumbs.db")
    found = files(tmp_path)
    assert found == ["a/z.TIFF", "b-1.png", "b.jpg", "b/1.jpg", "b/2.JPG", "c.gif", "d.bmp", "e.webp"]
    assert found == sorted(found)


LEFT_OUT = {
    "videos": ["1.AVI", "2.mp4", "3.MOV", "4.m2ts"],
    "raw files of cameras": ["D.NEF", "D.dng", "D.CR3", "D.ORF"],
    "pictures of kinds that are not read": ["a.HEIC", "a.jxl", "a.psd"],
    "files that are only in a cloud": [".IMG_1.JPG.icloud", ".IMG_2.HEIC.icloud", "a.jpg.cloudf"],
    "hidden files and folders": ["._IMG_1.JPG", ".DS_Store", ".thumbnails/a.jpg"],
    "other files": ["notes.txt", "IMG_1.JPG_original", "README", "a.jpg.part"],
}
READ = ["a.avif", "b.JFIF", "c.jpe", "d.MPO", "e.jpg"]


@pytest.mark.parametrize("place", ["folder", "bucket", "two"])
def test_what_is_left_out_is_counted_by_kind(tmp_path: Path, place: str) -> None:
    """Videos, raw files, other pictures, stubs of a cloud, hidden files and the rest, each kind in one line."""
    names = [*READ, *(name for some in LEFT_OUT.values() for name in some)]
    notes, times = Notes(), 1
    if place == "bucket":
        store = obstore.store.MemoryStore()
        for name in (*names, "marker"):
            obstore.put(store, f"cams/{name}", b"x" if name != "marker" else b"")
        found = [line.file for line in buckets.images("s3://bucket/cams", notes, lambda _: store)]
    elif place == "folder":
        found = files(touch(tmp_path, *names), notes=notes)
    else:
        touch(tmp_path / "b", *(name for name in names if name not in READ), "z.jpg")
        found = files(touch(tmp_path / "a", *names), tmp_path / "b", notes=notes)
        assert found.pop() == "z.jpg"
        times = 2
    assert found == READ
    assert {line.partition(" were")[0] for line in notes.lines()} == {
        f"{times * len(some)} {kind}" for kind, some in LEFT_OUT.items()
    }


BINS = [
    "$Recycle.Bin", "$RECYCLE.BIN", "recycler", "Recycled", "@Recycle", "#Recycle", "#SNAPSHOT", ".snapshot",
    "~Snapshot", ".zfs", "@EADIR", ".@__thumb", "System Volume Information", "SYSTEM VOLUME INFORMATION", "Lost+Found",
    ".Trash-1000", ".Trashes", "found.000", "@GMT-2026.01.01-00.00.00", "Network Trash Folder",
    "@Recently-Snapshot", "LOST.DIR",
]  # fmt: skip


def test_bins_and_snapshots_are_left_out_and_named(tmp_path: Path) -> None:
    """Whatever their case, in a folder as in a bucket; each is told by its name."""
    names = ["cam1/IMG_1.JPG", *(f"{name}/S-1-5/IMG_1.JPG" for name in BINS), "recycled-cam/a.jpg", "snapshots 2/a.jpg"]
    store = obstore.store.MemoryStore()
    for name in names:
        obstore.put(store, name, b"x")
    here, there = Notes(), Notes()
    found = files(touch(tmp_path, *names), notes=here)
    assert found == ["cam1/IMG_1.JPG", "recycled-cam/a.jpg", "snapshots 2/a.jpg"]
    assert found == [line.file for line in buckets.images("s3://bucket", there, lambda _: store)]
    for notes in (here, there):
        [line] = notes.lines()
        assert line.startswith(f"{len(BINS)} recycle bins")
        assert set(BINS) == set(line.partition(": ")[2].split(", "))


def test_a_bin_can_be_read_by_its_own_name(tmp_path: Path) -> None:
    """Who names one as the SOURCE means it."""
    assert files(touch(tmp_path, "#recycle/a.jpg") / "#recycle") == ["a.jpg"]


def test_every_name_reaches_its_file(tmp_path: Path) -> None:
    """Spaces, quotes, newlines, emoji and bytes that are not UTF-8: the address opens, the name is JSON."""
    folder = os.fsencode(tmp_path)
    for name in NASTY:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    found = lines(tmp_path)
    assert sorted(path_of(line) for line in found) == sorted(folder + b"/" + name for name in NASTY)
    for line in found:
        assert Path(os.fsdecode(path_of(line))).read_bytes() == path_of(line).rpartition(b"/")[2]
        assert msgspec.json.decode(msgspec.json.encode(line), type=ManifestLine) == line
    assert "caf\\xe9.jpg" in [line.file for line in found]


def test_links_of_folders_end_and_give_nothing_twice(tmp_path: Path) -> None:
    """A loop ends; a folder that is read under its own name is not read by a link; one outside is read once."""
    root, outside = touch(tmp_path / "root", "z/1.jpg"), touch(tmp_path / "outside", "2.jpg")
    (root / "z" / "loop").symlink_to(root)
    (root / "a").symlink_to(root / "z")
    (root / "up").symlink_to(tmp_path)
    (root / "b").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "self").symlink_to(root / "self")
    (outside / "back").symlink_to(root)
    notes = Notes()
    assert files(root, notes=notes) == ["b/2.jpg", "z/1.jpg"]
    assert [line[:18] for line in notes.lines()] == ["1 other files were", "5 links to folders"]


def test_links_to_files_count_as_files(tmp_path: Path) -> None:
    """Also where they lead nowhere, or to themselves: the image is named, and fails by its name."""
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.jpg").symlink_to(tmp_path / "d.jpg")
    assert files(tmp_path) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest goes on, and a note says which folder is missing and why."""
    touch(tmp_path, "a/1.jpg", "shut/2.jpg", "z/3.jpg")
    scandir = os.scandir

    def refuse(path: bytes) -> object:  # root may read everything, so a mode would prove nothing
        if path.endswith(b"shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("trapstream.jobs.walk.os.scandir", refuse)
    notes = Notes()
    assert files(tmp_path, notes=notes) == ["a/1.jpg", "z/3.jpg"]
    assert notes.lines() == [f"1 folders could not be read and were left out: {tmp_path}/shut (Permission denied)"]


def test_a_single_image_is_a_source(tmp_path: Path) -> None:
    """Its name is the file's name."""
    assert files(touch(tmp_path, "IMG_1.JPG") / "IMG_1.JPG") == ["IMG_1.JPG"]


def test_a_list_keeps_what_it_says(tmp_path: Path) -> None:
    """Relative and absolute paths, URLs, missing files, blank lines and duplicates, each as it should be."""
    touch(tmp_path, "a.jpg", "b/c.jpg")
    listed = [
        "a.jpg",
        "",
        f"{tmp_path}/a.jpg",
        "./b//c.jpg",
        "  ",
        "missing.jpg",
        "https://host/x.jpg?k=1",
        "a.jpg",
        "b/c.jpg",
    ]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    notes = Notes()
    found = lines(tmp_path / "list.txt", notes=notes)
    assert [(line.file, line.uri) for line in found] == [
        ("a.jpg", f"file://{tmp_path}/a.jpg"),
        (f"{tmp_path}/a.jpg", f"file://{tmp_path}/a.jpg"),
        ("b/c.jpg", f"file://{tmp_path}/b/c.jpg"),
        ("missing.jpg", f"file://{tmp_path}/missing.jpg"),
        ("https://host/x.jpg?k=1", "https://host/x.jpg?k=1"),
    ]
    assert notes.lines() == ["2 entries with the name of an entry before them were left out: a.jpg, b/c.jpg"]


def test_json_forms_carry_meta_and_names(tmp_path: Path) -> None:
    """A JSON list of pairs and JSONL with file, uri and meta."""
    touch(tmp_path, "a.jpg")
    (tmp_path / "l.json").write_text(json.dumps(["a.jpg", ["b.jpg", "night"]]))
    (tmp_path / "l.jsonl").write_text('{"file": "x/1.jpg", "uri": "s3://b/k%201.jpg", "meta": "m"}\n{"uri": "c.jpg"}\n')
    assert [(line.file, line.meta) for line in lines(tmp_path / "l.json")] == [("a.jpg", None), ("b.jpg", "night")]
    assert lines(tmp_path / "l.jsonl") == [
        ManifestLine(file="x/1.jpg", uri="s3://b/k%201.jpg", meta="m"),
        ManifestLine(file="c.jpg", uri=f"file://{tmp_path}/c.jpg"),
    ]


def test_names_of_objects_stay_exact(tmp_path: Path) -> None:
    """A key with // is another object than the one without, in every form of list; a file's path is the same."""
    rows = [
        {"file": "x//A.JPG", "uri": "s3://b/x//A.JPG"},
        {"file": "x/A.JPG", "uri": "s3://b/x/A.JPG"},
        {"uri": "s3://b//x/A.JPG"},
        {"file": "gs://b//y/./A.JPG", "uri": "gs://b//y/./A.JPG"},
        {"file": "z//A.JPG", "uri": "z//A.JPG"},
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(line.file, line.uri) for line in lines(tmp_path / "l.jsonl")] == [
        ("x//A.JPG", "s3://b/x//A.JPG"),
        ("x/A.JPG", "s3://b/x/A.JPG"),
        ("s3://b//x/A.JPG", "s3://b//x/A.JPG"),
        ("gs://b//y/./A.JPG", "gs://b//y/./A.JPG"),
        ("z/A.JPG", f"file://{tmp_path}/z/A.JPG"),
    ]
    (tmp_path / "l.txt").write_text("s3://b//x/A.JPG\ns3://b/x//A.JPG\ns3://b/x/A.JPG\n")
    assert [line.file for line in lines(tmp_path / "l.txt")] == ["s3://b//x/A.JPG", "s3://b/x//A.JPG", "s3://b/x/A.JPG"]


@pytest.mark.parametrize("form", ["txt", "json", "jsonl", "cr", "crlf"])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cam 1\\x\\a.jpg", "cam 1/x/a.jpg"),
        (".\\cam 1\\x\\a.jpg", "cam 1/x/a.jpg"),
        ("cam 1\\x/a.jpg", "cam 1/x/a.jpg"),
        ('"cam 1/x/a.jpg"', "cam 1/x/a.jpg"),
        ("'cam 1/x/a.jpg'", "cam 1/x/a.jpg"),
        ('  "cam 1\\x\\a.jpg" \t', "cam 1/x/a.jpg"),
        ("cam 1/x/a.jpg  ", "cam 1/x/a.jpg"),
        ("\tcam 1/x/a.jpg", "cam 1/x/a.jpg"),
        ("~/cam 1/x/a.jpg", "{home}/cam 1/x/a.jpg"),
        ('"~/cam 1/x/a.jpg"', "{home}/cam 1/x/a.jpg"),
        ("~\\cam 1\\x\\a.jpg", "{home}/cam 1/x/a.jpg"),
        ("https://host/a.jpg ", "https://host/a.jpg"),
        ('"s3://bucket/a b.jpg"', "s3://bucket/a b.jpg"),
        ("b\\c.jpg", "b\\c.jpg"),
        (" d.jpg ", " d.jpg "),
        ("'e.jpg'", "'e.jpg'"),
        ("~/f.jpg", "~/f.jpg"),
        ("C:\\g.jpg", "C:\\g.jpg"),
    ],
)
def test_what_a_list_of_another_system_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, written: str, meant: str
) -> None:
    """Backslashes, quotes, blanks and ~ are understood in every form of list, unless the very name is there."""
    touch(tmp_path, "cam 1/x/a.jpg", "b\\c.jpg", " d.jpg ", "'e.jpg'", "~/f.jpg", "C:\\g.jpg", "z.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    meant = meant.format(home=tmp_path)
    texts = {"json": json.dumps([written, "z.jpg"]), "jsonl": f'{{"file": {json.dumps(written)}}}\n{{"file": "z.jpg"}}'}
    end = {"cr": "\r", "crlf": "\r\n"}.get(form, "\n")
    listed = tmp_path / f"list.{form if form in texts else 'txt'}"
    listed.write_bytes(texts.get(form, f"{written}{end}z.jpg{end}").encode())
    found = lines(listed)
    assert [line.file for line in found] == [meant, "z.jpg"]
    if "://" not in meant:
        assert path_of(found[0]) == os.fsencode(tmp_path / meant)


@pytest.mark.parametrize("rest", [[], ["z.jpg"]])
@pytest.mark.parametrize(
    "written", ["E:\\2026\\a.jpg", "e:/a.jpg", "\\\\server\\share\\a.jpg", "\\a.jpg", '"D:\\a.jpg"']
)
def test_a_drive_or_share_is_one_line_before_any_work(tmp_path: Path, written: str, rest: list[str]) -> None:
    """Also where other entries are there; --anyway makes images of them, which then fail."""
    listed = touch(tmp_path, "z.jpg") / "list.txt"
    listed.write_text("".join(f"{line}\r\n" for line in [*rest, written]))
    with pytest.raises(SourceError, match="drive or share of Windows") as caught:
        sources.check([str(listed)])
    message = str(caught.value)
    assert message.startswith(f"{listed}: ") and "a.jpg is on" in message.replace("\\", "/") and "\n" not in message
    opened = sources.open_sources([str(listed)], anyway=True)
    assert [line.file for line in sources.manifest_lines(opened, Notes())] == [*rest, written]


@pytest.mark.parametrize(
    "entries",
    [["cam1/a.jpg"], ["/Volumes/CARD/a.jpg"], ["a.jpg,1", "b.jpg,2"], ["file:///C:/a.jpg"], ["smb://server/share/a.jpg"],
     ["cam1\\x.jpg"], ["~nobody-of-this-name/a.jpg"], ["//server/share/a.jpg"], ["a%20b.jpg"], ["x" * 5000],
     [f"{number}.jpg" for number in range(1500)], [*(f"{number}.jpg" for number in range(1000)), "z.jpg"]],
)  # fmt: skip
def test_a_list_that_fits_nothing_is_one_line(tmp_path: Path, entries: list[str]) -> None:
    """Of the first thousand entries nothing is there: no job, but with --anyway."""
    listed = touch(tmp_path, "z.jpg", "a b.jpg") / "list.txt"
    listed.write_text("\n".join(entries))
    with pytest.raises(
        SourceError, match=r"(its only entry, .*, is not|none of its first [\d,]+ entries is) there"
    ) as caught:
        sources.check([str(listed)])
    assert "--anyway" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="relative paths count from"):
        stored_manifest.write_manifest(tmp_path / "results", "job", [str(listed)], lambda _: None)
    assert not (tmp_path / "results").exists()
    made = stored_manifest.write_manifest(tmp_path / "results", "job", [str(listed)], lambda _: None, anyway=True)
    assert made.images == len(entries)


def test_a_list_for_another_folder_says_where_its_images_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are in the working folder; one entry that is there, or may be elsewhere, is enough to go on."""
    monkeypatch.chdir(touch(tmp_path / "photos", "cam1/a.jpg"))
    listed = touch(tmp_path / "lists", "b.jpg") / "list.txt"
    listed.write_text("cam1/a.jpg\ncam1/b.jpg\n")
    with pytest.raises(
        SourceError, match=f"count from {tmp_path}/lists, and from the working folder {tmp_path}/photos"
    ):
        sources.check([str(listed)])
    for more in ("b.jpg", "https://host/a.jpg", "s3://bucket/a.jpg"):
        listed.write_text(f"cam1/a.jpg\n{more}\n")
        assert files(listed) == ["cam1/a.jpg", more]


def test_two_folders_share_no_name(tmp_path: Path) -> None:
    """Names stay short while they differ; where two would be the same, the folders' names stand before them."""
    one, two = touch(tmp_path / "one", "1.jpg", "2.jpg"), touch(tmp_path / "two", "3.jpg")
    assert files(one, two) == ["1.jpg", "2.jpg", "3.jpg"]
    touch(two, "1.jpg")
    assert files(one, two) == ["one/1.jpg", "one/2.jpg", "two/1.jpg", "two/3.jpg"]
    (one / "list.txt").write_text("1.jpg\n")
    notes = Notes()
    assert files(one, two, one / "list.txt", notes=notes)[:2] == ["one/1.jpg", "one/2.jpg"]
    assert notes.lines()[-1] == "1 entries with the name of an entry before them were left out: one/1.jpg"
    assert files(one, one) == ["1.jpg", "2.jpg"]


def test_standard_input_is_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads a list from standard input, relative to the working folder."""
    touch(tmp_path, "a.jpg")
    (tmp_path / "in").write_text('["a.jpg"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "_standard_input", lambda: (tmp_path / "in").open("rb"))
    assert lines("-") == [ManifestLine(file="a.jpg", uri=f"file://{tmp_path}/a.jpg")]
    with pytest.raises(SourceError, match="cannot be combined"):
        lines("-", tmp_path)


def test_a_pipe_is_a_list_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's <(...): relative to the working folder, and a first look takes nothing out of it."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(touch(tmp_path / "here", "a.jpg"))
    sources.check([str(tmp_path / "pipe")])
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=["a.jpg\nb.jpg\n"])
    writer.start()
    assert [line.uri for line in lines(tmp_path / "pipe")] == [
        f"file://{tmp_path}/here/a.jpg",
        f"file://{tmp_path}/here/b.jpg",
    ]
    writer.join()
    with pytest.raises(SourceError, match="cannot be combined"):
        lines(tmp_path / "pipe", tmp_path)


@pytest.mark.parametrize(
    ("make", "source", "expected"),
    [
        ([], "nothing", "No such file or directory"),
        (["empty/notes.txt"], "empty", "no images in"),
        (["empty/.hidden/a.jpg"], "empty", "no images in"),
        (["list.txt"], "list.txt", "no images in"),
        ([], "ftp://host/a.jpg", "ftp:// cannot be read"),
        ([], "https://host/folder/", "an image can be read, not a list"),
        ([], "s3://", "bucket's name is missing"),
        ([], "gs:///folder", "bucket's name is missing"),
        (["table.csv"], "table.csv", "CSV is no list"),
    ],
)
def test_a_wrong_source_is_one_clear_line(tmp_path: Path, make: Sequence[str], source: str, expected: str) -> None:
    """What cannot be a SOURCE is refused before anything is made, in one line that names it."""
    touch(tmp_path, *make)
    text = source if "://" in source else str(tmp_path / source)
    with pytest.raises(SourceError, match=expected) as caught:
        sources.check([text])
    assert source in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SourceError, match=expected):
        stored_manifest.write_manifest(tmp_path / "results", "job", [text], lambda _: None)
    assert not (tmp_path / "results").exists()


def test_a_list_beyond_the_largest_manifest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is named."""
    monkeypatch.setattr(sources, "MOST_IMAGES", 2)
    with pytest.raises(SourceError, match="more than 2 images"):
        lines(touch(tmp_path, "1.jpg", "2.jpg", "3.jpg"))


def test_a_bucket_prefix_gives_its_images() -> None:
    """Keys below the prefix, relative to it, encoded; hidden ones and other files left out."""
    store = obstore.store.MemoryStore()
    for key in ("cams/1/a b.jpg", "cams/2/B.PNG", "cams/.x/c.jpg", "cams/notes.txt", "camshaft/d.jpg"):
        obstore.put(store, key, b"x")
    assert list(buckets.images("s3://bucket/cams/", Notes(), lambda _: store)) == [
        ManifestLine(file="1/a b.jpg", uri="s3://bucket/cams/1/a%20b.jpg"),
        ManifestLine(file="2/B.PNG", uri="s3://bucket/cams/2/B.PNG"),
    ]
    assert list(buckets.images("gs://bucket/cams/2/B.PNG", Notes(), lambda _: store)) == [
        ManifestLine(file="B.PNG", uri="gs://bucket/cams/2/B.PNG")
    ]


def test_a_bucket_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away, or refuses: one line that names the prefix."""
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="s3://bucket/cams: cannot list it") as caught:
        sources.check(["s3://bucket/cams"])
    assert "\n" not in str(caught.value)


def test_a_manifest_is_stored_whole(tmp_path: Path) -> None:
    """The stored lines are the source's, the count and the ticks agree."""
    folder, ticks = touch(tmp_path / "in", *(f"{n}.jpg" for n in range(1500))), list[int]()
    made = stored_manifest.write_manifest(tmp_path, "job", [str(folder)], ticks.append)
    assert list(read_manifest(manifest_path(tmp_path, "job"))) == lines(folder)
    assert (made.images, made.notes, made.left_out, ticks) == (1500, (), {}, [1000, 1500])
    touch(folder, "a.MP4", "b.mp4", "._a.jpg", "x/@eaDir/a.jpg", "c.dng", "notes.txt")
    (folder / "x" / "up").symlink_to(folder)
    made = stored_manifest.write_manifest(tmp_path, "second", [str(folder)], ticks.append)
    assert made.left_out == {
        "hidden files and folders": 1,
        "other files": 1,
        "raw files of cameras": 1,
        "recycle bins, snapshots and folders that file servers keep for themselves": 1,
        "videos": 2,
    }


def test_a_full_disk_leaves_no_half_made_manifest(tmp_path: Path) -> None:
    """One line says what to do; nothing is left in the store."""
    folder = touch(tmp_path / "in", *(f"{n}.jpg" for n in range(3000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the disk's own refusal, at 50 kB
    try:
        with pytest.raises(stored_manifest.SubmitError, match="cannot write the manifest"):
            stored_manifest.write_manifest(tmp_path / "results", "job", [str(folder)], lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "results").iterdir()) == []


def test_a_store_that_cannot_be_is_said(tmp_path: Path) -> None:
    """A file where the store's folder should be: one line."""
    touch(tmp_path, "a.jpg", "results")
    with pytest.raises(stored_manifest.SubmitError, match="cannot write the manifest"):
        stored_manifest.write_manifest(tmp_path / "results", "job", [str(tmp_path / "a.jpg")], lambda _: None)


async def test_an_error_in_the_source_leaves_no_manifest(tmp_path: Path) -> None:
    """A list that is wrong far inside ends the whole; the store stays as it was."""
    touch(tmp_path, "0.jpg")
    (tmp_path / "l.json").write_text(json.dumps([f"{n}.jpg" for n in range(20_000)])[:-1])
    with pytest.raises(SourceError, match="line 1: the list does not end"):
        await stored_manifest.make_manifest(tmp_path / "results", "job", [str(tmp_path / "l.json")])
    assert list((tmp_path / "results").iterdir()) == []
