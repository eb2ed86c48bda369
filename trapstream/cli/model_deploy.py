"""`model deploy` and `model rollback`: another version for the jobs to come, while others run."""

import itertools
from pathlib import Path
from typing import Literal

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.local import control, deploying, repository
from trapstream.local.state import Stack
from trapstream.models import bundle_store, deployed, pictures, runtimes
from trapstream.models.bundle_store import Bundle
from trapstream.models.check import Picture
from trapstream.models.deployed import PRECISION, RUNTIME, Deployment, Runtime
from trapstream.models.original import NoOriginal
from trapstream.models.runtimes import NoRuntime

AUTO: Literal["auto"] = "auto"
_MOST = 24
"""Photographs that a runtime is checked with: they are held in memory, and a large model takes seconds for each."""


@click.command()
@click.argument("model", metavar="NAME[@VERSION]")
@click.option(
    "--runtime", type=click.Choice([AUTO, *PRECISION]),
    help="What runs it on a CPU; auto tries all, and takes the fastest that answers as the original does.  "
    "[default: as it was deployed before, else auto]",
)  # fmt: skip
@click.option(
    "--images", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help=f"Photographs to try it with, the first {_MOST} of a folder.  [default: a few drawn scenes]",
)  # fmt: skip
@click.option("--unchecked", is_flag=True, help="Take the --runtime that is named as it is, without trying it.")
@click.pass_obj
def deploy(
    context: Context, model: str, runtime: Runtime | Literal["auto"] | None, images: Path | None, unchecked: bool
) -> None:
    """Serve this version, and make it the one that jobs get with --model NAME. Without a version: the newest import.

    Jobs that are open keep theirs. A version that does not load changes nothing.
    """
    named = None if runtime == AUTO else runtime
    if unchecked and (named is None or images is not None):
        raise click.UsageError("--unchecked goes with a --runtime that is named, and without --images")
    bundle = bundle_store.newest(context.home, model)
    known = deployed.read(context.home).of(bundle.card.name).versions.get(bundle.card.version)
    if runtime is None and images is None and known is not None:
        apply(context, bundle, known)
    elif named is not None and unchecked:
        apply(context, bundle, Deployment(runtime=named))
    else:
        apply(context, bundle, Deployment(runtime=_tried(bundle, named, images)))


@click.command()
@click.argument("name", metavar="NAME")
@click.pass_obj
def rollback(context: Context, name: str) -> None:
    """Make the version the default one that was it before. A second time takes the rollback back."""
    bundle = deploying.previous(context.home, name)
    apply(context, bundle, deployed.read(context.home).how(name, bundle.card.version))


def _tried(bundle: Bundle, named: Runtime | None, images: Path | None) -> Runtime:
    """The runtime that is named, or the fastest, once it gives the original's answers. Says how all did. NoRuntime."""
    say(f"trying {named or 'what is fastest'} for {bundle.label} on this machine, and holding it against the original")
    among, seconds = ((named,), 0.0) if named is not None else (runtimes.ALL, runtimes.SECONDS)
    anyway = "" if named is None else f"; --unchecked takes {named} all the same"
    try:
        chosen = _photographs(bundle, images) if images is not None else ()
        choice = runtimes.choose(bundle, repository.default_serving().threads, among, seconds, chosen)
    except NoOriginal as error:
        if named not in (None, RUNTIME):
            raise exits.CommandError(f"{named} cannot be checked: {error}{anyway}") from error
        say(f"{RUNTIME} runs it, unchecked: {error}")
        return RUNTIME
    except NoRuntime as error:
        raise exits.CommandError(f"{error}{anyway}") from error
    say(choice.why)
    return choice.runtime


def _photographs(bundle: Bundle, folder: Path) -> list[Picture]:
    skipped: list[str] = []
    found = list(itertools.islice(pictures.in_folder(bundle.card, folder, skipped), _MOST))
    if not found:
        raise exits.CommandError(f"no image in {folder} can be decoded")
    return found


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
