"""The filter of a stream or a webhook, read from the parameters of a query, and the webhooks of a job. Pure."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit

from trapstream.core.errors import BadInput
from trapstream.core.messages import EventFilter, Webhook

PARAMETERS = frozenset({"category", "confidence", "camera", "cooldown"})
MOST_WEBHOOKS = 8
"""Of one job."""
_MOST_COOLDOWN = 7 * 24 * 3600.0
_MOST_NAMES, _MOST_LENGTH = 100, 200
_MOST_URL = 2048
_URL = re.compile(r"[\x21-\x7e]+\Z")


class BadFilter(BadInput):
    """A filter or a webhook that cannot be used, and what was expected, in one line."""


def parse(parameters: Iterable[tuple[str, str]]) -> EventFilter:
    """The filter in a query's parameters; all other parameters are ignored. BadFilter.

    `category` and `camera` may come several times, or with commas between names.
    """
    categories: list[str] = []
    cameras: list[str] = []
    confidence, cooldown = None, 0.0
    for name, value in parameters:
        match name:
            case "category":
                categories += _names(name, value)
            case "camera":
                cameras += _names(name, value)
            case "confidence":
                confidence = _number(name, value, 1.0)
            case "cooldown":
                cooldown = _number(name, value, _MOST_COOLDOWN)
    if len(categories) + len(cameras) > _MOST_NAMES:
        raise BadFilter(f"more than {_MOST_NAMES} categories and cameras")
    return EventFilter(categories=tuple(categories), confidence=confidence, cameras=tuple(cameras), cooldown=cooldown)


def category_ids(event_filter: EventFilter, classes: Mapping[str, str]) -> frozenset[str]:
    """The ids of the model's categories that the filter names, by id or by name; all of them where it names none.

    `classes`: the model's, id to name.
    """
    if not event_filter.categories:
        return frozenset(classes)
    ids = _by_name(classes)
    return frozenset(ids[name] for name in event_filter.categories if name in ids)


def check_categories(event_filter: EventFilter, classes: Mapping[str, str]) -> None:
    """BadFilter for a category that a model does not have. `classes`: the model's, id to name."""
    ids = _by_name(classes)
    if unknown := [name for name in event_filter.categories if name not in ids]:
        raise BadFilter(f"there is no category {unknown[0]!r}; this model has {', '.join(classes.values())}")


def webhook(url: str, query: str) -> Webhook:
    """A webhook. `query`: its filter. BadFilter."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or len(url) > _MOST_URL or not _URL.match(url):
        raise BadFilter(f"a webhook is an http:// or https:// address of up to {_MOST_URL:,} ASCII characters")
    try:
        pairs = parse_qsl(query, True, strict_parsing=True, max_num_fields=_MOST_NAMES) if query else []
    except ValueError:
        pairs = [("", "")]
    if strange := [name for name, _ in pairs if name not in PARAMETERS]:
        raise BadFilter(
            "a webhook's filter is written as category=animal&confidence=0.6&camera=C7&cooldown=300; "
            f"{strange[0]!r} is none of these"
        )
    return Webhook(url=url, event_filter=parse(pairs))


def with_webhook(known: tuple[Webhook, ...], new: Webhook, classes: Mapping[str, str]) -> tuple[Webhook, ...]:
    """A job's webhooks with another one, which replaces one of the same address.

    `classes`: of the job's model. BadFilter for too many, and for a category that the model does not have.
    """
    check_categories(new.event_filter, classes)
    kept = tuple(each for each in known if each.url != new.url)
    if len(kept) >= MOST_WEBHOOKS:
        raise BadFilter(f"a job has {MOST_WEBHOOKS} webhooks at most")
    return (*kept, new)


def log_address(url: str) -> str:
    """A webhook's address for a log: scheme and host alone, since the rest is often a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _by_name(classes: Mapping[str, str]) -> dict[str, str]:
    """Name and id to id."""
    return {name: number for number, name in classes.items()} | {number: number for number in classes}


def _names(parameter: str, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if any(not 0 < len(name) <= _MOST_LENGTH for name in names):
        raise BadFilter(f"{parameter} takes names of up to {_MOST_LENGTH} characters, with commas between them")
    return names


def _number(parameter: str, value: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise BadFilter(f"{parameter} is a number from 0 to {most:g}")
    return number
