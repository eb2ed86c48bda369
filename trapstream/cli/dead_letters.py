"""`dead-letters`: messages that could not be read."""

import asyncio

import click

from trapstream.cli.context import say
from trapstream.cli.target import Target, target_options
from trapstream.core import json_codec, letters
from trapstream.core.messages import DeadLetter

_SHOWN = 60
"""Bytes of a message."""


@click.command("dead-letters")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--again", metavar="TOPIC:PARTITION:OFFSET", help="Publish this one again to where it came from.")
@target_options
def dead_letters(target: Target, as_json: bool, again: str | None) -> None:
    """List the messages that could not be read: their origin, the reason, and how they begin."""
    if again is not None:
        say(f"published again as {asyncio.run(letters.again(target.kafka, again))}")
        return
    if not asyncio.run(_list(target.kafka, as_json)):
        say("no dead letters")


async def _list(servers: str, as_json: bool) -> int:
    count = 0
    async for letter in letters.read(servers):
        count += 1
        if as_json:
            click.echo(json_codec.encode(_as_json(letter)))
        else:
            click.echo(f"{letters.origin(letter)}  {letter.reason}  {_beginning(letter)}")
    return count


def _as_json(letter: DeadLetter) -> dict[str, object]:
    return {
        "place": letters.origin(letter),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "size": letter.size,
        "cut": letters.is_cut(letter),
        "beginning": _beginning(letter),
    }


def _beginning(letter: DeadLetter) -> str:
    """One line of ASCII, whatever is in the message."""
    return ascii(letters.content(letter)[:_SHOWN].decode("utf-8", "backslashreplace"))[1:-1]
