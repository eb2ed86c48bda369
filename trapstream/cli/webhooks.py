"""--webhook and --webhook-filter, for the verbs that make jobs."""

from collections.abc import Callable, Sequence

import click

from trapstream.core import wishes
from trapstream.core.messages import Webhook


def webhook_options(multiple: bool) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Adds both options; `multiple`: several addresses may be given."""
    times = " May be given several times." if multiple else ""

    def add(command: click.decorators.FC) -> click.decorators.FC:
        wish = click.option(
            "--webhook-filter",
            default="",
            metavar="QUERY",
            help="Which results: category=animal&confidence=0.6&camera=C7&cooldown=300. Default: all of them.",
        )
        url = click.option(
            "--webhook", multiple=multiple, metavar="URL", help=f"Send each result to this address.{times}"
        )
        return url(wish(command))

    return add


def read_webhooks(urls: Sequence[str], words: str) -> list[Webhook]:
    """The webhooks that the options name. UsageError."""
    if words and not urls:
        raise click.UsageError("--webhook-filter needs --webhook")
    try:
        return [wishes.webhook(url, words) for url in urls]
    except wishes.BadWish as error:
        raise click.UsageError(str(error)) from None
