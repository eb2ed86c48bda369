"""watch: what is dropped into a folder becomes live images."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.cli.webhooks import read_webhooks, webhook_options
from trapstream.jobs.names import BadName, series_name
from trapstream.jobs.watch import Watched, WatchError
from trapstream.jobs.watch import watch as watching
from trapstream.local import control


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--job", "series", required=True, metavar="NAME", help="The live series that the images belong to.")
@click.option("--api", metavar="URL", help="A producer's API. Default: the local stack's.")
@click.option(
    "--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file with the API key alone."
)
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds without a change after which a file is whole.",
)
@webhook_options(multiple=False)
@click.pass_obj
def watch(
    context: Context,
    folder: Path,
    series: str,
    api: str | None,
    key_file: Path | None,
    settle: float,
    webhook: str | None,
    webhook_filter: str,
) -> None:
    """Send each image that is dropped into DIR to a live job, until Ctrl-C."""
    try:
        series_name(series)
    except BadName as error:
        raise click.UsageError(str(error)) from None
    read_webhooks([webhook] if webhook is not None else [], webhook_filter)
    resolved = folder.expanduser().resolve()
    if resolved.exists() and not resolved.is_dir():
        raise exits.CommandError(f"{resolved} is no folder")
    url = api.rstrip("/") if api else _local(context.home)
    digest = hashlib.sha256(os.fsencode(resolved) + b"\0" + series.encode()).hexdigest()[:16]
    watched = Watched(
        folder=resolved,
        series=series,
        api=url,
        key=_key(key_file),
        memory=context.home / "watch" / f"{series}-{digest}.jsonl",
        settle_seconds=settle,
        webhook=(webhook, webhook_filter) if webhook is not None else None,
    )
    asyncio.run(_until_signal(watched))


def _key(path: Path | None) -> str | None:
    try:
        return path.read_text().strip() if path is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise exits.CommandError(f"the key in {path} cannot be read: {error}") from None


async def _until_signal(watched: Watched) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await watching(watched, stop, say)
    except WatchError as error:
        raise exits.CommandError(str(error)) from error


def _local(home: Path) -> str:
    stack = control.running(home)
    if stack is None or "api" not in stack.endpoints:
        raise exits.NotUp("no stack is up; start one with `trapstream up -d`, or name a producer with --api")
    return f"http://{stack.endpoints['api']}"
