"""model diff: what another version of a model would have said about a job's images."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from trapstream.cli import exits
from trapstream.cli.context import check_output, say
from trapstream.cli.jobs import follow, require_served
from trapstream.cli.target import Target, target_options
from trapstream.core import result_store
from trapstream.core import status as statuses
from trapstream.core.messages import JobSpec, JobState, JobStatus, ModelInfo
from trapstream.core.states import ENDED
from trapstream.jobs import submit as submitting
from trapstream.jobs.manifest import ascii_safe
from trapstream.models import bundle_store
from trapstream.results import contact_sheet
from trapstream.results.diff import CHANGED, Change, Largest, Side, compare, summary, write_changes
from trapstream.results.read import ResultFile, open_result


@dataclass(frozen=True)
class _Answers:
    """One side: a job that has ended, its file, and how it is read."""

    spec: JobSpec
    result: ResultFile
    side: Side

    def described(self) -> dict[str, object]:
        """The head of the JSON file tells this of either side."""
        model = self.spec.model
        return {
            "job": self.spec.job,
            "model": model.label,
            "model_sha256": model.sha256,
            "threshold": self.side.threshold,
        }


@click.command()
@click.argument("job")
@click.argument("model", metavar="NAME@VERSION")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the changes here, as JSON.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Draw the largest changes here, side by side (PNG).")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="Confidence from which a detection counts, on both sides. Default: each model's typical one.",
)
@target_options
def diff(
    target: Target, job: str, model: str, output: Path | None, sheet: Path | None, threshold: float | None
) -> None:
    """List the images of JOB whose answer is another with model NAME@VERSION: new, gone, or of another class."""
    for path, option in ((output, "-o"), (sheet, "--sheet")):
        if path is not None:
            check_output(path, option)
    info = bundle_store.find(target.models, model).card.info
    earlier, later = asyncio.run(_jobs(target, job, info, threshold))
    old, new = _opened(target, earlier, threshold), _opened(target, later, threshold)
    largest = Largest(contact_sheet.MOST_CHANGES)
    changes = compare(old.result.entries(), new.result.entries(), old.side, new.side)
    if output is None:
        for found in changes:
            largest.add(found)
            if found.kind in CHANGED:
                print(f"{found.kind}\t{found.size:.3f}\t{ascii_safe(found.file)}")
    else:
        _write(output, old, new, changes, largest)
    print("\n".join(summary(largest.counts)), file=sys.stderr if output is None else sys.stdout)
    if sheet is not None:
        _draw(target, old, new, largest, sheet)


async def _jobs(target: Target, job: str, info: ModelInfo, threshold: float | None) -> tuple[JobSpec, JobSpec]:
    """The finished job, and the one over the same images with the other model, finished too."""
    specs, known = await statuses.read_specs(target.kafka), await statuses.read_all(target.kafka)
    if job not in specs:
        raise exits.NoSuchJob(job)
    earlier = specs[job]
    if known[job].state is not JobState.COMPLETED:
        raise exits.Incomplete(f"{job} is {known[job].state}: only a completed job can be compared")
    if (earlier.model.label, earlier.model.sha256) == (info.label, info.sha256):
        raise exits.CommandError(f"{job} was done with {info.label} itself; name another version")
    for model in (earlier.model, info):
        _unless_kept(earlier, model, threshold)
    later = _done_before(target, specs, known, earlier, info)
    if later is None:
        await require_served(target, info)
        name = f"diff of {job} with {info.label}"
        later = await submitting.replay(
            target.kafka, target.results, earlier, name=name, model=info, lacking=target.shortage
        )
        say(f"{later.job} does the images of {job} again, with {info.label}; if you stop this, it goes on")
    else:
        say(f"{later.job} has the images of {job} with {info.label}: it is used as it is")
    exits.unless_complete(await follow(target, later))
    return earlier, later


def _done_before(
    target: Target, specs: dict[str, JobSpec], known: dict[str, JobStatus], earlier: JobSpec, info: ModelInfo
) -> JobSpec | None:
    """The newest job of the same manifest with this model that is done, or at it: the same diff at another threshold,
    or after it was stopped, does not detect again."""
    alike = [
        spec
        for spec in specs.values()
        if (spec.manifest_sha256, spec.model.sha256, spec.model.label)
        == (earlier.manifest_sha256, info.sha256, info.label)
        and spec.threshold <= earlier.threshold
        and not (spec.cancelled or spec.failed)
        and (known[spec.job].state not in ENDED or result_store.result_path(target.results, spec.job).exists())
    ]
    return max(alike, key=lambda spec: spec.created, default=None)


def _unless_kept(earlier: JobSpec, model: ModelInfo, threshold: float | None) -> None:
    """Refuses a threshold below what the job kept, before anything is detected."""
    wanted = model.typical_threshold if threshold is None else threshold
    if wanted < earlier.threshold:
        raise exits.CommandError(
            f"{earlier.job} kept confidences from {earlier.threshold:g} on, so nothing can be compared at {wanted:g}; "
            f"take --threshold {earlier.threshold:g} or more"
        )


def _opened(target: Target, spec: JobSpec, threshold: float | None) -> _Answers:
    result = open_result(result_store.result_path(target.results, spec.job))
    limit = spec.model.typical_threshold if threshold is None else threshold
    return _Answers(spec, result, Side(limit, result.detection_categories))


def _write(output: Path, old: _Answers, new: _Answers, changes: Iterator[Change], largest: Largest) -> None:
    head = {"old": old.described(), "new": new.described(), "manifest_sha256": old.spec.manifest_sha256}
    try:
        with result_store.whole_file(output) as file:
            write_changes(head, changes, old.side, new.side, file, largest)
    except OSError as error:
        raise exits.CommandError(f"{output} cannot be written: {error.strerror}") from error


def _draw(target: Target, old: _Answers, new: _Answers, largest: Largest, sheet: Path) -> None:
    picks = largest.take()
    found = target.photographs(old.spec, {change.file for change in picks})
    before, after = ((each.spec.model.label, each.side) for each in (old, new))
    account = f"{largest.changed:,} of {old.spec.images:,} changed"
    title = f"{old.spec.name}: {before[0]} (left) and {after[0]} (right), {account}"
    try:
        drawn = contact_sheet.draw_changes(picks, found, before, after, title, sheet)
    except OSError as error:
        raise exits.CommandError(f"{sheet} cannot be written: {error.strerror}") from error
    if not drawn:
        why = "nothing changed that can be drawn" if not picks else "no changed image lies on this machine"
        say(f"no contact sheet: {why}")
