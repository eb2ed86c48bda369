"""The account of uploads under kills: what was answered, what is in the files, and what came to those who listen."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.tools.arrivals_heard import Heard
from trapstream.core import result_store
from trapstream.core.messages import JobSpec
from trapstream.results.read import open_result
from trapstream.results.verify import disagreements
from trapstream.results.verify import verify as verified


@dataclass
class Account:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    """Name of each image that was answered with 2xx, to the job that it was given a place in."""
    refused: int = 0
    """Attempts without an answer of 2xx."""
    repeated: int = 0
    """Answers that named a place which the image had already."""
    jobs: int = 0
    entries: dict[str, Any] = field(default_factory=dict)
    """Image (JOB/SEQ) to its entry, of all files."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What `verify` says of the files."""
    stream: Heard = field(default_factory=lambda: Heard("stream"))
    webhook: Heard = field(default_factory=lambda: Heard("webhook"))
    slowest: float = 0.0
    """Seconds from the first attempt at an image to its 2xx."""
    seconds: float = 0.0

    @property
    def ways(self) -> tuple[Heard, Heard]:
        """How results are told."""
        return self.stream, self.webhook

    def lines(self) -> list[str]:
        """The account for people."""
        return [
            f"kills        {self.kills.total()}: " + ", ".join(f"{k} {n}" for k, n in sorted(self.kills.items())),
            f"answered     {len(self.answered):,} images with 2xx, {self.repeated:,} of the answers for a second time",
            f"attempts     {self.refused:,} more, refused or cut off; the slowest image took {self.slowest:.1f} s",
            f"jobs         {self.jobs}",
            f"lost         {len(self.lost)}",
            f"doubled      {len(self.doubled)}",
            f"unknown      {len(self.unknown)}",
            *(heard.line for heard in self.ways),
            f"time         {self.seconds:.0f} s",
            *self.wrong,
            *(line for heard in self.ways for line in heard.wrong),
        ]

    @property
    def well(self) -> bool:
        """Whether every promise held."""
        told = not any(heard.missing or heard.wrong for heard in self.ways)
        return told and not (self.lost or self.doubled or self.unknown or self.wrong)


def check(home: Path, specs: list[JobSpec], account: Account) -> None:
    """Holds the files against the answers, and each against its manifest; keeps their entries."""
    seen: Counter[str] = Counter()
    for spec in specs:
        path, manifest = (
            result_store.result_path(home / "results", spec.job),
            result_store.manifest_path(home / "results", spec.job),
        )

        def lines(manifest: Path = manifest) -> list[str]:
            return [line.file for line in result_store.read_manifest(manifest)]

        found = verified(path, lines)
        account.wrong += [f"{spec.job}: {text}" for text in disagreements(found, open_result(path))]
        if not found.complete:
            account.wrong.append(f"{spec.job}: {found}")
        for seq, entry in enumerate(msgspec.json.decode(path.read_bytes())["images"]):
            account.entries[f"{spec.job}/{seq}"] = entry
            seen[entry["file"]] += 1
    account.lost = sorted(name for name in account.answered if not seen[name])
    account.doubled = sorted(name for name, count in seen.items() if count > 1)
    account.unknown = sorted(name for name in seen if name not in account.answered)
