"""`model ls`: the models that are here, and what they do."""

import asyncio
from dataclasses import asdict

import click

from trapstream.cli.context import Context
from trapstream.core import json_codec
from trapstream.local import control
from trapstream.local.inventory import Model, inventory


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def ls(context: Context, as_json: bool) -> None:
    """List the models: which version --model NAME means (*), whether it is served, and the open jobs that use it."""
    stack = control.running(context.home)
    found = asyncio.run(inventory(context.home, stack if stack is not None and stack.state == "up" else None))
    if as_json:
        click.echo(json_codec.encode_indented([asdict(model) for model in found]))
    else:
        for line in _lines(found):
            click.echo(line)


def _lines(found: list[Model]) -> list[str]:
    """In columns as wide as they must be: a name that is cut is no name."""
    rows = [("", "model", "state", "family", "size", "precision", "runtime", "open jobs")]
    rows += [
        (
            "*" if model.default else "", f"{model.name}@{model.version}", model.state, model.family, str(model.size),
            model.precision, model.runtime or "-", str(len(model.jobs)),
        )
        for model in found
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
