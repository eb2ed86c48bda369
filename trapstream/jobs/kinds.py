"""What the name of a file says of it: an image that is read, or the kind as which it is left out. Pure."""

import re
from collections.abc import Mapping

IMAGE_SUFFIXES = (
    b".jpg", b".jpeg", b".jpe", b".jfif", b".mpo", b".gif", b".png", b".tif", b".tiff", b".bmp", b".webp", b".avif",
)  # fmt: skip

_WERE = " were left out"
HIDDEN = "hidden files and folders were left out"
BINS = "recycle bins, snapshots and folders that file servers keep for themselves were left out"
MOST_BINS = 30
"""Different names of them that are told."""
_STUBS = "files that are only in a cloud were left out; download them first"
_VIDEOS = "videos were left out"
_RAW = "raw files of cameras were left out"
_PICTURES = "pictures of kinds that are not read were left out"
_OTHERS = "other files were left out"

_BINS = frozenset(
    rb"""$recycle.bin, recycler, recycled, recycle.bin, recycle bin, #recycle, @recycle, .recycle, .recycle.bin,
    trashbox, .trash, .trashes, network trash folder, files_trashbin, #snapshot, #snapshots, @snapshot, @snapshots,
    .snapshot, .snapshots, ~snapshot, ~snapshots, @recently-snapshot, @sharesnap, .zfs, .ckpt, @eadir, @tmp, @transcode,
    @__thumb, .@__thumb, .@upload_cache, system volume information, lost+found, lost.dir, __macosx,
    temporary items""".replace(b"\n   ", b"").split(b", ")
)
"""As Windows, Samba, macOS, Android and the makers of file servers call them, in lower case."""
_BINS_LIKE = re.compile(rb"\.trash-\d+|found\.\d{3}|@gmt-[\d.-]+", re.IGNORECASE)
_SUFFIXES = {
    _STUBS: b".icloud .cloud .cloudf .owncloud .nextcloud .opencloud",
    _VIDEOS: b""".3g2 .3gp .asf .avi .dav .divx .flv .h264 .h265 .hevc .insv .lrv .m2t .m2ts .m4v .mj2 .mkv .mov .mp4
        .mpeg .mpg .mts .mxf .ogv .vob .webm .wmv""",
    _RAW: b""".3fr .arw .cap .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf
        .raw .rw2 .rwl .sr2 .srf .srw .x3f""",
    _PICTURES: b""".apng .bpg .dds .dib .emf .eps .exr .hdr .heic .heics .heif .heifs .hif .ico .insp .j2c .j2k .jfi
        .jif .jp2 .jpf .jpm .jps .jpx .jxl .jxr .jxs .pbm .pcx .pgm .pnm .ppm .psb .psd .qoi .svg .svgz .tga .wdp .wmf
        .xcf""",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def account(counts: Mapping[str, int]) -> dict[str, int]:
    """Of counted notes those on files that were left out, by the short name of their kind, in its order."""
    kinds = {HIDDEN, BINS, _OTHERS, *_SUFFIXES}
    return {kind.partition(_WERE)[0]: counts[kind] for kind in sorted(kinds & counts.keys())}


def is_image_name(name: bytes) -> bool:
    """Whether the name ends as an image's does, in any case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def kept_out(name: bytes) -> str | None:
    """The kind of a file or folder that is never entered or read, whatever is in it; None for others.

    Hidden ones (macOS's `._*` among them), recycle bins, snapshots and the like, in any case.
    """
    lower = name.lower()
    if lower in _BINS or _BINS_LIKE.fullmatch(lower):
        return BINS
    if lower.startswith(b".") and lower not in (b".", b".."):
        return _kind(lower) if _kind(lower) is _STUBS else HIDDEN
    return None


def left_out(path: bytes) -> tuple[str, bytes] | None:
    """The kind as which a file is left out, by its relative path, and the name to tell; None for an image."""
    steps = path.split(b"/")
    for number, step in enumerate(steps):
        if kind := kept_out(step):
            return kind, step if kind is BINS else b"/".join(steps[: number + 1])
    return None if is_image_name(path) else (_kind(path.lower()), path)


def _kind(lower: bytes) -> str:
    return _KINDS.get(b"." + lower.rpartition(b"/")[2].rpartition(b".")[2], _OTHERS)
