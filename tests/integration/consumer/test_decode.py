"""The decoder against Pillow and cv2, on real photographs and on everything that goes wrong with a file."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from tests import images
from trapstream.core.errors import Permanent, Reason
from trapstream.images.dali_decode import LetterboxPipeline
from trapstream.images.decode import Decoded, Decoder, Encoded
from trapstream.images.header import read_header
from trapstream.images.letterbox import Letterbox, fixed_letterbox, letterbox, stretched

MOST_PIXELS = 50_000_000
NETWORKS = [(640, 32), (1280, 64)]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(batch=8, threads=1, device="cpu", max_pixels=MOST_PIXELS)


def decode_all(decoder: Decoder, *data: bytes, network: tuple[int, int] = (640, 32)) -> list[Decoded | Permanent]:
    """Answers whose pixels stay."""
    return [
        Decoded(answer.pixels.copy(), answer.letterbox) if isinstance(answer, Decoded) else answer
        for answer in decoder.decode([Encoded(one, *network) for one in data])
    ]


def decoded(decoder: Decoder, data: bytes, network: tuple[int, int] = (640, 32)) -> Decoded:
    [answer] = decode_all(decoder, data, network=network)
    assert isinstance(answer, Decoded), answer
    return answer


def refused(decoder: Decoder, data: bytes) -> Permanent:
    [answer] = decode_all(decoder, data)
    assert isinstance(answer, Permanent)
    return answer


def reference(source: NDArray[np.uint8], network: tuple[int, int]) -> NDArray[np.uint8]:
    """MegaDetector's letterbox of RGB pixels, by cv2."""
    return fitted(source, letterbox(source.shape[1], source.shape[0], *network))


def fitted(source: NDArray[np.uint8], box: Letterbox) -> NDArray[np.uint8]:
    """RGB pixels resized and padded by cv2."""
    resized = cv2.resize(source, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    bottom, right = box.padded_height - box.height - box.top, box.padded_width - box.width - box.left
    grey = (114, 114, 114)
    padded = cv2.copyMakeBorder(resized, box.top, bottom, box.left, right, cv2.BORDER_CONSTANT, value=grey)
    return np.asarray(padded, dtype=np.uint8)


def upright(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_same(found: Decoded, source: NDArray[np.uint8], network: tuple[int, int] = (640, 32)) -> None:
    expected = reference(source, network)
    assert (found.letterbox.source_height, found.letterbox.source_width) == source.shape[:2]
    assert found.pixels.shape == expected.shape
    assert found.pixels.dtype == np.uint8
    off = np.abs(found.pixels.astype(np.int16) - expected)
    assert (off <= 1).mean() >= 0.999
    assert off.max() <= 2


@pytest.mark.parametrize("network", NETWORKS)
def test_photographs(decoder: Decoder, photographs: Path, network: tuple[int, int]) -> None:
    """Real photographs of five shapes, decoded together, give the pixels of Pillow and cv2."""
    data = [path.read_bytes() for path in sorted(photographs.glob("*.jpg"))]
    assert data, f"{photographs} has none"
    for one, answer in zip(data, decode_all(decoder, *data, network=network), strict=True):
        assert isinstance(answer, Decoded)
        assert_same(answer, upright(one), network)
        assert np.array_equal(answer.pixels, reference(upright(one), network))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("source", ["encoded", "pixels"])
def test_the_gpus_graph(source: Literal["encoded", "pixels"], network: tuple[int, int]) -> None:
    """The graph that a GPU runs, run here: different shapes in one batch give the reference's pixels."""
    pipeline = LetterboxPipeline(source, batch=4, threads=1, device="cpu")
    data = [images.jpeg(*size) for size in ((320, 240), (675, 506), (333, 777), (2048, 1536))]
    boxes = [letterbox(one.shape[1], one.shape[0], *network) for one in map(upright, data)]
    given = [np.frombuffer(one, dtype=np.uint8) if source == "encoded" else upright(one) for one in data]
    for one, box, (pixels, expected) in zip(data, boxes, pipeline.run(given, boxes, [1] * 4), strict=True):
        assert expected
        assert_same(Decoded(pixels, box), upright(one), network)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(320, 240), (2048, 1536), (675, 506), (333, 777), (1280, 960), (641, 479)])
def test_sizes(decoder: Decoder, size: tuple[int, int], network: tuple[int, int]) -> None:
    """Enlarged, shrunk, portrait, odd and untouched sizes all follow the reference."""
    data = images.jpeg(*size)
    assert_same(decoded(decoder, data, network), upright(data), network)


FORMATS: dict[str, Callable[[], bytes]] = {
    "progressive": lambda: images.jpeg(progressive=True),
    "4:4:4": lambda: images.jpeg(subsampling=0),
    "CMYK": images.cmyk,
    "greyscale": images.grey,
    "PNG": images.png,
    "palette PNG": images.palette,
    "palette PNG, transparent": lambda: images.palette(transparent=True),
    "LA PNG": lambda: images.encode(images.scene(320, 240).convert("LA"), "PNG"),
    "RGBA PNG": lambda: images.encode(images.scene(320, 240).convert("RGBA"), "PNG"),
    "bilevel PNG": lambda: images.encode(images.scene(320, 240).convert("1"), "PNG"),
    "BMP": lambda: images.encode(images.scene(320, 240), "BMP"),
    "TIFF": lambda: images.encode(images.scene(320, 240), "TIFF"),
    "TIFF, LZW": lambda: images.encode(images.scene(320, 240), "TIFF", compression="tiff_lzw"),
    "WebP": lambda: images.encode(images.scene(320, 240), "WEBP"),
    "GIF named .jpg": lambda: images.palette("GIF"),
    "trailing bytes": lambda: images.jpeg() + b"camera footer" * 50,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(decoder: Decoder, name: str) -> None:
    """Every kind of image that Pillow reads gives the pixels that Pillow reads."""
    data = FORMATS[name]()
    assert_same(decoded(decoder, data), upright(data))


def test_animated_gif_gives_its_first_frame(decoder: Decoder) -> None:
    """An animation counts as its first frame."""
    frames = [images.scene(320, 240, seed).quantize(64) for seed in (1, 2)]
    data = images.encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert_same(decoded(decoder, data), np.asarray(frames[0].convert("RGB")))


def test_sixteen_bits_are_scaled(decoder: Decoder) -> None:
    """16-bit grey keeps its high byte; it is not clipped to white."""
    grey = np.asarray(images.scene(320, 240).convert("L"))
    assert_same(decoded(decoder, images.grey16()), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "greyscale JPEG", "PNG", "WEBP", "TIFF"])
def test_orientations(decoder: Decoder, orientation: int, form: str) -> None:
    """All eight EXIF orientations are turned as PIL.ImageOps.exif_transpose turns them, greyscale too."""
    data = images.grey(orientation=orientation) if form == "greyscale JPEG" else images.oriented(orientation, form=form)
    assert_same(decoded(decoder, data), upright(data))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(675, 506), (333, 777), (1921, 1083), (320, 240)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_the_turn_comes_before_the_resize(
    decoder: Decoder, form: str, size: tuple[int, int], network: tuple[int, int]
) -> None:
    """At all eight orientations the pixels equal those of an image turned first, bit for bit, by DALI and by Pillow."""
    data = [images.oriented(orientation, *size, form=form) for orientation in range(1, 9)]
    for one, answer in zip(data, decode_all(decoder, *data, network=network), strict=True):
        assert isinstance(answer, Decoded)
        assert np.array_equal(answer.pixels, reference(upright(one), network))


@pytest.mark.parametrize("make", [fixed_letterbox, stretched])
def test_the_turn_comes_first_for_fixed_inputs(
    decoder: Decoder, make: Callable[[int, int, tuple[int, int]], Letterbox]
) -> None:
    """The same for models of one size."""
    data = [images.oriented(orientation, 675, 506) for orientation in range(1, 9)]
    fixed = (480, 608)
    answers = decoder.decode([Encoded(one, 608, 32, fixed, make is stretched) for one in data])
    for one, answer in zip(data, answers, strict=True):
        assert isinstance(answer, Decoded)
        source = upright(one)
        assert np.array_equal(answer.pixels, fitted(source, make(source.shape[1], source.shape[0], fixed)))


def test_turned_photographs(decoder: Decoder, photographs: Path) -> None:
    """Real photographs that lie on their side give the pixels of Pillow and cv2, bit for bit, at each orientation."""
    for number, path in enumerate(sorted(photographs.glob("*.jpg"))):
        exif = Image.Exif()
        exif[0x0112] = 2 + number % 7
        with Image.open(path) as image:
            one = images.encode(image.convert("RGB"), "JPEG", quality=90, exif=exif)
        for data in (one, images.truncated(one, 0.9)):
            found = decoded(decoder, data, (1280, 64))
            assert np.array_equal(found.pixels, reference(upright(data), (1280, 64)))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gpus_graph_turns(network: tuple[int, int]) -> None:
    """The graph that a GPU runs, run here, resizes before the turn: at most one grey level beside the reference on
    99.9 % of the values."""
    pipeline = LetterboxPipeline("encoded", batch=8, threads=1, device="cpu")
    data = [images.oriented(orientation, 675, 506) for orientation in range(1, 9)]
    boxes = [letterbox(one.shape[1], one.shape[0], *network) for one in map(upright, data)]
    found = pipeline.run([np.frombuffer(one, dtype=np.uint8) for one in data], boxes, range(1, 9))
    for one, box, (pixels, expected) in zip(data, boxes, found, strict=True):
        assert expected
        assert_same(Decoded(pixels, box), upright(one), network)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_truncated_and_turned(decoder: Decoder, orientation: int) -> None:
    """A file cut short takes another way and is turned the same."""
    data = images.truncated(images.oriented(orientation))
    assert_same(decoded(decoder, data), upright(data))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_truncated_as_megadetector(decoder: Decoder, share: float) -> None:
    """A truncated JPEG keeps its upper rows; the rest is grey. So does one without its last two bytes."""
    whole = images.jpeg(1280, 960)
    found = decoded(decoder, images.truncated(whole, share))
    assert_same(found, upright(images.truncated(whole, share)))
    intact = decoded(decoder, whole)
    rows = int(480 * share * 0.7)
    assert np.array_equal(found.pixels[:rows], intact.pixels[:rows])
    assert np.array_equal(decoded(decoder, whole[:-2]).pixels, intact.pixels)


def test_truncated_png(decoder: Decoder) -> None:
    """A truncated PNG is read as far as it goes."""
    data = images.truncated(images.png())
    assert_same(decoded(decoder, data), upright(data))


def test_scrambled(decoder: Decoder) -> None:
    """Random bytes inside the scan give an answer, the same each time."""
    data = images.scrambled(images.jpeg(1280, 960))
    first = decoded(decoder, data)
    assert np.array_equal(first.pixels, decoded(decoder, data).pixels)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", Reason.EMPTY_FILE, ""),
        (images.HTML, Reason.NOT_AN_IMAGE, "it looks like an HTML page"),
        (images.TEXT, Reason.NOT_AN_IMAGE, "it looks like text"),
        (b"\0" * 5000, Reason.NOT_AN_IMAGE, "it begins with zero bytes only"),
        (b'{"error": "expired"}', Reason.NOT_AN_IMAGE, "it looks like JSON"),
        (b"<?xml version='1.0'?><Error/>", Reason.NOT_AN_IMAGE, "it looks like XML"),
        (b"\0\0\0\x20ftypheic", Reason.NOT_AN_IMAGE, "it looks like HEIC, which is not read"),
        (b"\0\0\0\x20ftypisom", Reason.NOT_AN_IMAGE, "it looks like a video"),
        (b"\xff\xd8", Reason.NOT_AN_IMAGE, "it looks like other data"),
        (images.jpeg()[:100], Reason.DAMAGED, "JPEG: the header cannot be read"),
        (images.png()[:20], Reason.DAMAGED, "PNG: the header cannot be read"),
        (b"BM" + b"hello" * 40, Reason.DAMAGED, "BMP: the header cannot be read"),
        (images.bomb(), Reason.TOO_MANY_PIXELS, "100000 x 100000, the limit is 50000000 in all"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_refusals(decoder: Decoder, data: bytes, reason: Reason, words: str) -> None:
    """Each bad input fails with its reason and a text that says what to look at."""
    failure = refused(decoder, data)
    assert (failure.reason, failure.detail) == (reason, words)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 30), (30, 20_000), (20_000, 1), (1, 7)])
def test_extreme_shapes(decoder: Decoder, size: tuple[int, int]) -> None:
    """Extreme shapes are read: no side becomes zero."""
    source = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = decoded(decoder, images.encode(Image.fromarray(source), "PNG"))
    box = found.letterbox
    assert (box.source_width, box.source_height) == size
    assert found.pixels.shape == (box.padded_height, box.padded_width, 3)
    assert max(box.width, box.height) == 640


def test_padding_is_grey(decoder: Decoder) -> None:
    """Every pixel outside the image is 114, on both sides."""
    found = decoded(decoder, images.encode(Image.new("RGB", (1920, 1080), (200, 10, 10)), "PNG"))
    box = found.letterbox
    inside = np.zeros(found.pixels.shape[:2], dtype=bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    assert (found.pixels[~inside] == 114).all()
    assert (found.pixels[inside] == (200, 10, 10)).all()


def bad_ones() -> list[bytes]:
    whole = images.jpeg(640, 480, seed=9)
    headers_only = whole[: whole.index(b"\xff\xda")]
    return [
        images.truncated(whole),
        images.HTML,
        b"",
        images.palette("GIF"),
        images.jpeg()[:100],
        headers_only,
        headers_only + b"\xff\xd9",
        whole[:800] + b"\xff\xd9",
        images.png()[:400] + images.png()[500:],
        images.bomb(),
        images.damaged_exif(),
        images.damaged_length(),
        images.encode(images.scene(64, 48), "TIFF")[:900],
        images.encode(images.scene(64, 48), "WEBP")[:300],
    ]


def same(one: Decoded | Permanent, other: Decoded | Permanent) -> bool:
    if isinstance(one, Permanent) or isinstance(other, Permanent):
        return str(one) == str(other) and type(one) is type(other)
    return one.letterbox == other.letterbox and np.array_equal(one.pixels, other.pixels)


def test_mates_do_not_matter(decoder: Decoder) -> None:
    """An image's pixels are the same, bit for bit, alone, among good ones and among bad ones."""
    good = [images.jpeg(640, 480, 1), images.jpeg(800, 450, 2), images.png(), images.oriented(6), images.grey()]
    mixed = [one for pair in zip(good, bad_ones(), strict=False) for one in pair] + bad_ones()[len(good) :]
    alone = [decode_all(decoder, one)[0] for one in mixed]
    together = decode_all(decoder, *mixed)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
    small = Decoder(batch=2, threads=2, device="cpu", max_pixels=MOST_PIXELS)
    backwards = decode_all(small, *reversed(mixed))[::-1]
    assert all(same(one, other) for one, other in zip(alone, backwards, strict=True))
    for one, answer in zip(mixed, alone, strict=True):
        if one in good:
            assert isinstance(answer, Decoded)
            assert_same(answer, upright(one))


def test_a_damaged_length_costs_nothing(decoder: Decoder) -> None:
    """A chunk that claims gigabytes takes neither the time nor the memory for them."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    decode_all(decoder, images.damaged_length())
    assert time.process_time() - began < 5, "one that believes it computes for half a minute"
    assert process.memory_info().rss - before < 100_000_000


def test_networks_share_a_batch(decoder: Decoder) -> None:
    """Images for models of different sizes are decoded together."""
    data = images.jpeg(800, 600)
    small, large = decoder.decode([Encoded(data, 640, 32), Encoded(data, 1280, 64)])
    assert isinstance(small, Decoded)
    assert isinstance(large, Decoded)
    assert_same(small, upright(data))
    assert_same(large, upright(data), (1280, 64))


@pytest.mark.parametrize("stretch", [False, True], ids=["letterboxed", "stretched"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_fixed_inputs(decoder: Decoder, stretch: bool, orientation: int) -> None:
    """A model of one size gets exactly that, from JPEGs and from what Pillow reads, whichever way they lie."""
    fixed = (480, 608)
    data = [images.oriented(orientation), images.oriented(orientation, form="PNG"), images.jpeg(333, 777)]
    answers = decoder.decode([Encoded(one, 608, 32, fixed, stretch) for one in data])
    for one, answer in zip(data, answers, strict=True):
        assert isinstance(answer, Decoded)
        source = upright(one)
        make = stretched if stretch else fixed_letterbox
        box = make(source.shape[1], source.shape[0], fixed)
        assert answer.letterbox == box
        off = np.abs(answer.pixels.astype(np.int16) - fitted(source, box))
        assert (off <= 1).mean() >= 0.999
        assert answer.pixels.shape == (*fixed, 3)


@pytest.mark.parametrize("make", [fixed_letterbox, stretched])
def test_the_gpus_graph_for_fixed_inputs(make: Callable[[int, int, tuple[int, int]], Letterbox]) -> None:
    """The graph that a GPU runs, run here, fits into fixed inputs as the reference does."""
    pipeline = LetterboxPipeline("encoded", batch=2, threads=1, device="cpu")
    data = [images.jpeg(*size) for size in ((675, 506), (333, 777))]
    boxes = [make(one.shape[1], one.shape[0], (480, 608)) for one in map(upright, data)]
    found = pipeline.run([np.frombuffer(one, dtype=np.uint8) for one in data], boxes, [1, 1])
    for one, box, (pixels, expected) in zip(data, boxes, found, strict=True):
        assert expected
        off = np.abs(pixels.astype(np.int16) - fitted(upright(one), box))
        assert (off <= 1).mean() >= 0.999


def test_nothing_to_do(decoder: Decoder) -> None:
    """No images, no answers."""
    assert decoder.decode([]) == []


def test_memory_stays_flat(decoder: Decoder) -> None:
    """300 batches of good and bad images leave the process as large as 60 did."""
    good = [images.jpeg(320, 240 + seed, seed) for seed in range(4)]
    bad = bad_ones()
    process = psutil.Process()
    after = []
    for number in range(300):
        decoder.decode([Encoded(one, 320, 32) for one in (*good, bad[number % len(bad)])])
        if number in {60, 299}:
            after.append(process.memory_info().rss)
    assert after[1] - after[0] < 20_000_000


def test_the_header_check_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a bomb nor a common PNG is decoded to learn its size and its turn."""

    def load(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(Permanent) as refused:
        read_header(images.bomb(), 200_000_000)
    assert refused.value.reason is Reason.TOO_MANY_PIXELS
    assert read_header(images.png(64, 48), 200_000_000).orientation == 1
