"""`model deploy`: another version for the jobs to come, while others run."""

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.local import control, deploying
from trapstream.local.state import Stack
from trapstream.models import store
from trapstream.models.store import Bundle


@click.command()
@click.argument("model", metavar="NAME[@VERSION]")
@click.pass_obj
def deploy(context: Context, model: str) -> None:
    """Serve this version, and make it the one that jobs get with --model NAME. Without a version: the newest import.

    Jobs that are open keep theirs. A version that does not load changes nothing.
    """
    apply(context, store.newest(context.home, model))


def apply(context: Context, bundle: Bundle) -> None:
    """Deploys and says what that means."""
    stack = running(context)
    before = deploying.deploy(context.home, bundle, stack, say)
    name = bundle.card.name
    if stack is None:
        say(f"noted: no stack is up; the next start serves {bundle.label}, and --model {name} means it from now on")
    elif before is None or before == bundle.card.version:
        say(f"{bundle.label} is served, and --model {name} means it")
    else:
        say(f"{bundle.label} is served, and --model {name} means it; {name}@{before} goes once no open job uses it")


def running(context: Context) -> Stack | None:
    """The stack of this home once it is up; None where none is there. CommandError while it goes down."""
    stack = control.running(context.home)
    if stack is not None and stack.state == "starting":
        return control.up(context.home, say)
    if stack is not None and stack.state != "up":
        raise exits.NotUp(f"the stack in {context.home} is {stack.state}; try again once it is down")
    return stack
