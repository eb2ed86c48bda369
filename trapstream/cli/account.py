"""A job's account in words. It does no I/O of its own."""

from trapstream.cli.progress import duration
from trapstream.core.messages import Counts, JobStatus
from trapstream.core.states import ENDED


def rate_and_rest(status: JobStatus, now: float) -> str:
    """What follows the figures while a job runs: rate, time left, and what is wrong."""
    parts = []
    if status.rate > 0:
        parts.append(f"{status.rate:,.1f} images/s")
    if status.finish is not None and status.finish > now:
        parts.append(f"{duration(status.finish - now)} left")
    if status.message:
        parts.append(status.message)
    return ", ".join(parts)


def waits(job: str, model: str, error: str) -> str:
    """One line about a job whose model is not served, or answers with `error`: what helps, and what ends the wait."""
    if error:
        wrong, remedy = f"is loaded but not well ({error})", "`trapstream logs triton` says more"
    else:
        wrong, remedy = "is not served", f"`trapstream model deploy {model}` loads it"
    return f"waits for its model {model}, which {wrong}: {remedy}, `trapstream cancel {job}` ends the wait"


def equation(status: JobStatus) -> list[str]:
    """The account of one job at any time, in the words of `verify`: published = detected + empty + failed."""
    counts = status.counts
    images = counts.done if status.images is None else status.images
    open_yet = images - counts.done
    first = (
        f"published {images:,}"
        f" = detected {counts.detected:,} + empty {counts.empty:,} + failed {sum(counts.failed.values()):,}"
    )
    if open_yet:
        first += f" + {'missing' if status.state in ENDED else 'to come'} {open_yet:,}"
    return [first, *(f"failed: {reason}: {count:,}" for reason, count in sorted(counts.failed.items()))]


def lines(counts: Counts, total: int) -> list[str]:
    """The account: images = with detections + empty + failed, each reason by name."""
    failed = sum(counts.failed.values())
    rows = [
        f"images           {total:>10,}",
        f"with detections  {counts.detected:>10,}",
        f"empty            {counts.empty:>10,}",
        f"failed           {failed:>10,}",
    ]
    rows += [f"  {reason:<15}{number:>10,}" for reason, number in sorted(counts.failed.items())]
    missing = total - counts.done
    if missing:
        rows.append(f"missing          {missing:>10,}")
    return rows
