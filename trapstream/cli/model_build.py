"""model build: the TensorRT plan of a model, and its entry in Triton's repository."""

from pathlib import Path

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.core.triton_names import triton_name
from trapstream.models import bundle_store, repository_entry, tensorrt
from trapstream.models.tensorrt_plan import build as build_plan
from trapstream.models.tensorrt_plan import plans_folder


@click.command()
@click.argument("name", metavar="NAME[@VERSION]")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    help="Triton's model repository.  [default: plans/repository in the home]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    default=32,
    show_default=True,
    help="The largest batch. Fewer images take less of the GPU's memory.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 16),
    default=repository_entry.PLAN_INSTANCES,
    show_default=True,
    help="Copies at work at once, each with memory of its own.",
)
@click.pass_obj
def build(context: Context, name: str, repository: Path | None, batch: int, instances: int) -> None:
    """Build the TensorRT plan of a model for this machine's GPU, once, and its entry in Triton's repository."""
    bundle = bundle_store.find(context.home, name)
    compiler = tensorrt.here()
    say(f"{bundle.label}: TensorRT {compiler.version} on {compiler.gpu.name}; a first build takes minutes")
    plan = build_plan(context.home, bundle, compiler, batch)
    say(f"{plan.path} {'is built' if plan.built else 'was there'}")
    folder = repository or plans_folder(context.home) / "repository"
    try:
        entry = repository_entry.render_plan(
            plan, triton_name(bundle.card.name, bundle.card.version), folder, instances
        )
    except OSError as error:
        raise exits.CommandError(f"the entry cannot be written to {folder}: {error.strerror or error}") from error
    print(entry)
