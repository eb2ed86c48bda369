"""TIFFs made by hand, directory by directory: for tests."""

import struct

Page = dict[int, int | tuple[int, ...]]
"""Values by tag: one or more unsigned numbers of 32 bits."""

PICTURE: Page = {256: 8, 257: 6, 258: 8, 259: 1, 262: 1, 277: 1, 278: 6, 279: 48}
"""8 x 6 grey pixels in one strip, but for its offset."""


def tiff(
    *pages: Page,
    inner: tuple[Page, ...] = (),
    order: str = "<",
    big: bool = False,
    head: bytes = b"",
    strip: bytes = bytes(range(48)),
) -> bytes:
    """A TIFF of 8 x 6 grey pixels, or of whatever `strip` holds. `inner`: directories that the first page names as its
    SubIFDs. `head`: the first four bytes, in place of those that `order` and `big` ask for."""
    head = head or {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    word, first = ("Q", 16) if big else ("I", 8)
    size, pixels = struct.calcsize(word), first + len(strip)
    number = "Q" if big else "H"
    spaces = [_space(page, big) for page in (*inner, *pages)]
    spaces[len(inner)] += 4 * len(inner)
    begins = [pixels]
    for space in spaces:
        begins.append(begins[-1] + space)
    body = b""
    for place, page in enumerate((*inner, *pages)):
        tags: Page = {**page, 273: first} if 256 in page else dict(page)
        if inner and place == len(inner):
            tags[330] = tuple(begins[: len(inner)])
        last = place < len(inner) or place == len(begins) - 2
        arrays = begins[place] + struct.calcsize("<" + number) + len(tags) * _entry(big) + size
        entries, tail = b"", b""
        for tag, given in sorted(tags.items()):
            values = given if isinstance(given, tuple) else (given,)
            packed = struct.pack(f"{order}{len(values)}I", *values)
            entries += struct.pack(f"{order}HH{word}", tag, 4, len(values))
            if len(packed) > size:
                entries += struct.pack(order + word, arrays + len(tail))
                tail += packed
            else:
                entries += packed.ljust(size, b"\0")
        directory = struct.pack(order + number, len(tags)) + entries
        directory += struct.pack(order + word, 0 if last else begins[place + 1]) + tail
        body += directory.ljust(begins[place + 1] - begins[place], b"\0")
    start = struct.pack(order + "HH", 8, 0) if big else b""
    return head + start + struct.pack(order + word, begins[len(inner)]) + strip + body


def _entry(big: bool) -> int:
    return 20 if big else 12


def _space(page: Page, big: bool) -> int:
    long = sum(4 * len(value) for value in page.values() if isinstance(value, tuple))
    return 16 + (len(page) + 2) * _entry(big) + long
