"""Which part of a live series a moment belongs to: its label, and the job's id. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from trapstream.core.errors import Fatal

DAY = 24 * 3600
_MONDAY = datetime(1970, 1, 5)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name, UTC also where the system has no time zones. Fatal for one that it does not know."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Fatal(
            f"TRAPSTREAM_LIVE_ZONE: there is no time zone {name!r} here; name one as Africa/Nairobi, or UTC"
        ) from None


def label_of(now: float, seconds: int, zone: tzinfo) -> str:
    """The period that `now`, seconds since 1970, lies in: by the wall clock of `zone`, in steps of `seconds`.

    Of one series the later label is the greater string. Where the wall clock goes back in autumn, a period of hours
    takes the hour that comes twice as one.
    """
    wall = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    whole = (wall - _MONDAY) // timedelta(seconds=seconds)
    begin = _MONDAY + whole * timedelta(seconds=seconds)
    return f"{begin:%Y-%m-%d}" if seconds % DAY == 0 else f"{begin:%Y-%m-%dT%H%M%S}"


def job_id(series: str, label: str, number: int) -> str:
    """The id of the job of a period; `number` is 1 unless an earlier one of the same period has ended."""
    return f"{series}-{label}" + (f"-{number}" if number > 1 else "")
