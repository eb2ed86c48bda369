"""`model rollback`: the default version before the present one again."""

import click

from trapstream.cli.context import Context
from trapstream.cli.model_deploy import apply
from trapstream.local import deploying
from trapstream.models import deployed


@click.command()
@click.argument("name", metavar="NAME")
@click.pass_obj
def rollback(context: Context, name: str) -> None:
    """Make the version the default one that was it before. A second time takes the rollback back."""
    bundle = deploying.previous(context.home, name)
    apply(context, bundle, deployed.read(context.home).how(name, bundle.card.version))
