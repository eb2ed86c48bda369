"""The public detectors of the MegaDetector family: where they are, and what their files do not say of themselves.

Sources: the releases v5.0 and v1000.0 of https://github.com/agentmorris/MegaDetector, its table of known models
(megadetector/detection/run_detector.py: addresses, md5, the thresholds of version 5) and its release notes
(docs/release-notes/mdv1000-release.md: sizes, licences, "0.3 or even 0.4" as a threshold); for version 6 the model zoo
of https://github.com/microsoft/MegaDetector, whose files are in https://zenodo.org/records/15398270. Licences are those
that the makers state for their models or for the code that runs them. A threshold that they do not publish is
MegaDetector's own for models that it does not know.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_V5 = "https://github.com/agentmorris/MegaDetector/releases/download/v5.0"
_V1000 = "https://github.com/agentmorris/MegaDetector/releases/download/v1000.0"
_V6 = "https://zenodo.org/records/15398270/files"


@dataclass(frozen=True)
class Known:
    """A published model. Its classes are MegaDetector's three."""

    name: str
    version: str
    source: str
    """Where the file is to be had. An ONNX export of it has the same name with another ending."""
    licence: str
    image_size: int
    stride: int
    typical: float
    conservative: float = 0.1
    md5: str | None = None
    """Of the published file; None where its makers state none."""

    @property
    def file(self) -> str:
        """The name of the published file."""
        return self.source.rpartition("/")[2]


KNOWN = (
    Known("mdv5a", "0.0", f"{_V5}/md_v5a.0.0.pt", "AGPL-3.0", 1280, 64, 0.2, 0.05, "ec1d7603ec8cf642d6e0cd008ba2be8c"),
    Known("mdv5b", "0.0", f"{_V5}/md_v5b.0.0.pt", "AGPL-3.0", 1280, 64, 0.2, 0.05, "bc235e73f53c5c95e66ea0d1b2cbf542"),
    Known("mdv5a", "0.1", f"{_V5}/md_v5a.0.1.pt", "AGPL-3.0", 1280, 64, 0.2, 0.05, "60f8e7ec1308554df258ed1f4040bc4f"),
    Known("mdv5b", "0.1", f"{_V5}/md_v5b.0.1.pt", "AGPL-3.0", 1280, 64, 0.2, 0.05, "f17ed6fedfac2e403606a08c89984905"),
    Known(
        "mdv1000-redwood", "0.0", f"{_V1000}/md_v1000.0.0-redwood.pt", "GPL-3.0", 1280, 64, 0.3,
        md5="74474b3aec9cf1a990da38b37ddf9197",
    ),
    Known(
        "mdv1000-spruce", "0.0", f"{_V1000}/md_v1000.0.0-spruce.pt", "GPL-3.0", 640, 32, 0.3,
        md5="1c9d1d2b3ba54931881471fdd508e6f2",
    ),
    Known(
        "mdv1000-cedar", "0.0", f"{_V1000}/md_v1000.0.0-cedar.pt", "GPL-3.0", 640, 32, 0.3,
        md5="3d6472c9b95ba687b59ebe255f7c576b",
    ),
    Known(
        "mdv1000-larch", "0.0", f"{_V1000}/md_v1000.0.0-larch.pt", "AGPL-3.0", 640, 32, 0.3,
        md5="cab94ebd190c2278e12fb70ffd548b6d",
    ),
    Known(
        "mdv1000-sorrel", "0.0", f"{_V1000}/md_v1000.0.0-sorrel.pt", "AGPL-3.0", 960, 32, 0.3,
        md5="4339a2c8af7a381f18ded7ac2a4df03e",
    ),
    Known("mdv6-yolov9-c", "1", f"{_V6}/MDV6-yolov9-c.pt", "AGPL-3.0", 1280, 32, 0.2),
    Known("mdv6-yolov9-e", "1", f"{_V6}/MDV6-yolov9-e-1280.pt", "AGPL-3.0", 1280, 32, 0.2),
    Known("mdv6-yolov10-c", "1", f"{_V6}/MDV6-yolov10-c.pt", "AGPL-3.0", 1280, 32, 0.2),
    Known("mdv6-yolov10-e", "1", f"{_V6}/MDV6-yolov10-e-1280.pt", "AGPL-3.0", 1280, 32, 0.2),
    Known("mdv6-rtdetr-c", "1", f"{_V6}/MDV6-rtdetr-c.pt", "AGPL-3.0", 1280, 32, 0.2),
    Known("mdv6-mit-yolov9-c", "1", f"{_V6}/MDV6-mit-yolov9-c.ckpt", "MIT", 640, 32, 0.2),
    Known("mdv6-mit-yolov9-e", "1", f"{_V6}/MDV6-mit-yolov9-e.ckpt", "MIT", 640, 32, 0.2),
    Known("mdv6-apa-rtdetr-c", "1", f"{_V6}/MDV6-apa-rtdetr-c.pth", "Apache-2.0", 640, 32, 0.2),
    Known("mdv6-apa-rtdetr-e", "1", f"{_V6}/MDV6-apa-rtdetr-e.pth", "Apache-2.0", 640, 32, 0.2),
)  # fmt: skip


@dataclass(frozen=True)
class Recognised:
    """Which of the known models a file is."""

    known: Known
    certain: bool
    """Its bytes are those of the published file; else it is only called so."""


def recognise(file: Path, md5: str) -> Recognised | None:
    """The known model that a file is by its bytes, or else by its name, whatever its ending."""
    for known in KNOWN:
        if md5 == known.md5:
            return Recognised(known, certain=True)
    for known in KNOWN:
        if _stem(file.name) == _stem(known.file):
            return Recognised(known, certain=False)
    return None


def digests(file: Path) -> tuple[str, str]:
    """md5, by which the makers name their files, and sha256, in lower-case hex. OSError as the disk gives it."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()


def _stem(name: str) -> str:
    """A file's name in lower case, without the ending of a model file."""
    lower = name.lower()
    for ending in (".pt", ".pth", ".ckpt", ".onnx", "-1280"):  # two of the published names end in their size
        lower = lower.removesuffix(ending)
    return lower
