"""Server-sent events as bytes, by the HTML standard, section 9.2. Pure."""

import msgspec

from notifier import results, resume
from notifier.results import Result
from trapstream.core.messages import JobStatus

HELLO = b": results as they come\nretry: 2000\n\n"
"""What a stream begins with: the milliseconds after which a browser comes again."""

_encoder = msgspec.json.Encoder()


def result(found: Result, number: str) -> bytes:
    """The event of a result. `number`: its id."""
    return _frame("result", results.shown(found), number)


def end(status: JobStatus) -> bytes:
    """The event after the last one: how the job ended."""
    return _frame("end", _ended(status), resume.END)


def job(status: JobStatus, number: str) -> bytes:
    """The event after the last one of a job in a series' stream, which goes on: how the job ended."""
    return _frame("job", _ended(status), number)


def gap(job: str, why: str) -> bytes:
    """The event that says that results may be missing before the next one."""
    return _frame("gap", _encoder.encode({"job": job, "error": why}), None)


def error(text: str) -> bytes:
    """The event with which a stream ends that may not go on."""
    return _frame("refused", _encoder.encode({"error": text}), None)


def heartbeat(number: str | None) -> bytes:
    """A comment, and the id of what was looked at last: who comes again need not begin further back."""
    told = f"id: {number}\n" if number is not None else ""
    return f": still here\n{told}\n".encode()


def _ended(status: JobStatus) -> bytes:
    return _encoder.encode({"job": status.job, "state": status.state, "total": status.total, "counts": status.counts})


def _frame(event: str, data: bytes, number: str | None) -> bytes:
    identity = f"id: {number}\n" if number is not None else ""
    return f"event: {event}\n{identity}data: ".encode() + data + b"\n\n"
