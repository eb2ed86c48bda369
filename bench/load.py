"""The images that a benchmark works on: drawn scenes of a chosen size, or the user's own, named again and again."""

import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from trapstream.core import json_codec
from trapstream.jobs.manifest import Notes, path_of_uri
from trapstream.jobs.sources import manifest_lines, open_sources
from trapstream.local.home import cache_folder
from trapstream.scenes import scene

_SEED = 40_000


@dataclass(frozen=True)
class Images:
    """The images of a benchmark: `count` different ones, each of which it names many times."""

    size: tuple[int, int] = (1280, 960)
    """Width and height of drawn scenes."""
    count: int = 48
    quality: int = 88
    folder: Path | None = None
    """The user's, in place of drawn scenes."""

    @property
    def label(self) -> str:
        """For people."""
        return self.folder.name if self.folder is not None else f"{self.size[0]} x {self.size[1]}"


def uris(images: Images, say: Callable[[str], None]) -> list[str]:
    """The images' URIs. Drawn scenes are kept in the cache folder, since drawing takes longer than detecting."""
    if images.folder is not None:
        return [
            line.uri for line in itertools.islice(manifest_lines(open_sources([str(images.folder)]), Notes()), 5000)
        ]
    width, height = images.size
    folder = cache_folder() / "bench" / f"{width}x{height}-q{images.quality}-{images.count}"
    if not (folder / ".drawn").exists():
        say(f"drawing {images.count} scenes of {images.label}")
        for _ in scene.write_scenes(folder, images.count, seed=_SEED, size=images.size, quality=images.quality):
            pass
        (folder / ".drawn").touch()
    return [path.as_uri() for path in sorted(folder.glob("*.jpg"))]


def write_manifest(path: Path, chosen: Iterable[str], count: int) -> Path:
    """A list of `count` references that names the URIs again and again. Returns its path."""
    each = list(chosen)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as lines:
        for seq in range(count):
            line = {"file": f"site-{seq % 7}/{seq:08}.jpg", "uri": each[seq % len(each)]}
            lines.write(json_codec.encode(line) + b"\n")
    return path


def spoiled(chosen: list[str], folder: Path, share: float) -> list[str]:
    """The URIs a hundred times over, of which `share` name damaged copies: cut short, or overwritten in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, uri in enumerate(chosen[:20]):
        whole = local(uri).read_bytes()
        middle = len(whole) // 2
        bad = whole[:middle] if number % 2 else whole[: middle // 2] + bytes(middle) + whole[middle + middle // 2 :]
        path = folder / f"bad-{number}.jpg"
        path.write_bytes(bad)
        made.append(path.as_uri())
    total, every = 100 * len(chosen), round(1 / share)
    return [made[n // every % len(made)] if n % every == every - 1 else chosen[n % len(chosen)] for n in range(total)]


def local(uri: str) -> Path:
    """The path of a file:// URI."""
    return Path(os.fsdecode(path_of_uri(uri.encode())))


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from text such as 1280x960."""
    try:
        return scene.parse_size(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no size; give WIDTHxHEIGHT, such as 1280x960") from error
