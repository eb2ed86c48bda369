"""`doctor`: what is missing on this machine, and how to get it."""

import json
from dataclasses import asdict

import click

from trapstream.cli.context import Context, say
from trapstream.local import doctor as checks

_SIGNS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def doctor(context: Context, as_json: bool) -> int:
    """Check this machine. Status 3 where something is missing that a stack needs."""
    found = checks.examine(context.home)
    missing = [check for check in found if check.level == "missing"]
    if as_json:
        click.echo(json.dumps({"ok": not missing, "checks": [asdict(check) for check in found]}, indent=1))
    else:
        for check in found:
            click.echo(f"{_SIGNS[check.level]}  {check.name}: {check.found}")
            if check.remedy:
                click.echo(f"         {check.remedy}")
        say("something is missing" if missing else "this machine can run Trapstream")
    return 3 if missing else 0
