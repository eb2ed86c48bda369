"""`model deploy`: another version for the jobs to come, while others run."""

from typing import Literal

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.local import control, deploying, entry
from trapstream.local.state import Stack
from trapstream.models import deployed, runtimes, store
from trapstream.models.deployed import Deployment
from trapstream.models.original import NoOriginal
from trapstream.models.runtime import PRECISION, RUNTIME, Runtime
from trapstream.models.store import Bundle

AUTO: Literal["auto"] = "auto"


@click.command()
@click.argument("model", metavar="NAME[@VERSION]")
@click.option(
    "--runtime", type=click.Choice([AUTO, *PRECISION]),
    help="What runs it on a CPU; auto tries all, and takes the fastest that answers as the original does.  "
    "[default: as it was deployed before, else auto]",
)  # fmt: skip
@click.pass_obj
def deploy(context: Context, model: str, runtime: Runtime | Literal["auto"] | None) -> None:
    """Serve this version, and make it the one that jobs get with --model NAME. Without a version: the newest import.

    Jobs that are open keep theirs. A version that does not load changes nothing.
    """
    bundle = store.newest(context.home, model)
    known = deployed.read(context.home).of(bundle.card.name).versions.get(bundle.card.version)
    if runtime is None and known is not None:
        apply(context, bundle, known)
    elif runtime is None or runtime == AUTO:
        apply(context, bundle, Deployment(runtime=_chosen(bundle)))
    else:
        apply(context, bundle, Deployment(runtime=runtime))


def _chosen(bundle: Bundle) -> Runtime:
    """The fastest runtime that gives the original's answers; says how all of them did. NoRuntime."""
    say(f"trying what runs {bundle.label} fastest on this machine; --runtime tells it")
    try:
        choice = runtimes.choose(bundle, entry.default_serving().threads)
    except NoOriginal as error:
        say(f"{RUNTIME} runs it, since no other can be checked: {error}")
        return RUNTIME
    say(choice.why)
    return choice.runtime


def apply(context: Context, bundle: Bundle, deployment: Deployment) -> None:
    """Deploys and says what that means."""
    stack = running(context)
    before = deploying.deploy(context.home, bundle, stack, say, deployment)
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
