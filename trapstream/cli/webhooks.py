"""--webhook and --webhook-filter, for the verbs that make jobs."""

from collections.abc import Callable, Sequence

import click

from trapstream.core import event_filter
from trapstream.core.messages import Webhook


def webhook_options(multiple: bool) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Adds both options; `multiple`: several addresses may be given."""
    times = " May be given several times." if multiple else ""

    def add(command: click.decorators.FC) -> click.decorators.FC:
        query = click.option(
            "--webhook-filter",
            default="",
            metavar="QUERY",
            help="Which results: category=animal&confidence=0.6&camera=C7&cooldown=300. Default: all of them.",
        )
        url = click.option(
            "--webhook", multiple=multiple, metavar="URL", help=f"Send each result to this address.{times}"
        )
        return url(query(command))

    return add


def read_webhooks(urls: Sequence[str], query: str) -> list[Webhook]:
    """The webhooks that the options name. UsageError."""
    if query and not urls:
        raise click.UsageError("--webhook-filter needs --webhook")
    try:
        return [event_filter.webhook(url, query) for url in urls]
    except event_filter.BadFilter as error:
        raise click.UsageError(str(error)) from None
