"""The account of uploads under kills: what was answered, what the files hold, and what came by stream and webhook."""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trapstream.core import json_codec, result_store
from trapstream.core.messages import JobSpec
from trapstream.results.ledger import disagreements
from trapstream.results.read import open_result, verify


@dataclass
class Received:
    """The events that came in one of the two ways."""

    way: str
    entries: dict[str, Any] = field(default_factory=dict)
    """Image (JOB/SEQ) to its entry."""
    repeated: int = 0
    """Images that came again: consumers did them twice, or their event was on its way when somebody died."""
    records: set[str] = field(default_factory=set)
    """Of a stream: the offsets in the log of its events. None of them may come twice."""
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Images that are in a file and never came."""
    begun: int = 0
    """Streams that were opened for the first time."""
    breaks: int = 0
    """Times that one was taken up again."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes, number: str | None = None) -> None:
        """An event's data and its id, or a webhook's body."""
        event = json_codec.decode(data)
        if number is not None:
            record = next(part for part in number.split(",") if part.rpartition(":")[0] == event["job"])
            if record in self.records:
                self.wrong.append(f"{self.way}: {record} came twice")
            self.records.add(record)
        known = self.entries.setdefault(event["id"], event["result"])
        if known is not event["result"]:
            self.repeated += 1
            if known != event["result"]:
                self.wrong.append(f"{self.way}: {event['id']} came with two entries")
        self._news.set()

    def opened(self) -> None:
        """Another stream is there."""
        self.begun += 1
        self._news.set()

    async def all_begun(self, streams: int) -> None:
        """Returns once so many streams are open: from here on they may break."""
        while self.begun < streams:
            self._news.clear()
            await self._news.wait()

    async def all_of(self, images: Collection[str]) -> None:
        """Returns once all of these have come."""
        while not self.entries.keys() >= set(images):
            self._news.clear()
            await self._news.wait()

    def hold_against(self, entries: dict[str, Any]) -> None:
        """Notes what is missing or differs from the files' entries."""
        self.missing = sorted(entries.keys() - self.entries.keys())
        self.wrong += [f"{self.way}: {image} is in no file" for image in sorted(self.entries.keys() - entries.keys())]
        self.wrong += [
            f"{self.way}: {image} differs from its file"
            for image, entry in self.entries.items()
            if image in entries and entry != entries[image]
        ]

    @property
    def line(self) -> str:
        """The account for people."""
        breaks = f", {self.breaks} breaks" if self.breaks else ""
        account = f"{len(self.entries):,} images, {self.repeated:,} came again, {len(self.missing)} missing"
        return f"{self.way:<12} {account}{breaks}"


@dataclass
class Account:
    """The account of one run."""

    kills: Counter[str] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    """Name of each image that was answered with 2xx, to the job that it went into."""
    refused: int = 0
    """Attempts without an answer of 2xx."""
    repeated: int = 0
    """Answers that named a job and number which the image had already."""
    jobs: int = 0
    entries: dict[str, Any] = field(default_factory=dict)
    """Image (JOB/SEQ) to its entry, of all files."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Contradictions, among them those that `verify` finds in the files."""
    stream: Received = field(default_factory=lambda: Received("stream"))
    webhook: Received = field(default_factory=lambda: Received("webhook"))
    slowest: float = 0.0
    """Seconds from the first attempt at an image to its 2xx."""
    seconds: float = 0.0

    @property
    def ways(self) -> tuple[Received, Received]:
        """The two ways by which results come to listeners."""
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
            *(received.line for received in self.ways),
            f"time         {self.seconds:.0f} s",
            *self.wrong,
            *(line for received in self.ways for line in received.wrong),
        ]

    @property
    def well(self) -> bool:
        """Whether every promise held."""
        complete = not any(received.missing or received.wrong for received in self.ways)
        return complete and not (self.lost or self.doubled or self.unknown or self.wrong)


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

        found = verify(path, lines)
        account.wrong += [f"{spec.job}: {text}" for text in disagreements(found, open_result(path).account)]
        if not found.complete:
            account.wrong.append(f"{spec.job}: {found}")
        for seq, entry in enumerate(json_codec.decode(path.read_bytes())["images"]):
            account.entries[f"{spec.job}/{seq}"] = entry
            seen[entry["file"]] += 1
    account.lost = sorted(name for name in account.answered if not seen[name])
    account.doubled = sorted(name for name, count in seen.items() if count > 1)
    account.unknown = sorted(name for name in seen if name not in account.answered)
