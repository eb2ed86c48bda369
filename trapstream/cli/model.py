"""model: the verbs about models. Each has a file of its own, but rollback, which is a deploy."""

import click

from trapstream.cli.verbs import Verbs

VERBS: dict[str, str] = {
    "import": "trapstream.cli.model_import:import_",
    "ls": "trapstream.cli.model_ls:ls",
    "deploy": "trapstream.cli.model_deploy:deploy",
    "rollback": "trapstream.cli.model_deploy:rollback",
    "check": "trapstream.cli.model_check:check",
    "build": "trapstream.cli.model_build:build",
    "diff": "trapstream.cli.model_diff:diff",
}
"""Verb to `module:command`, in the order of the help. A module is imported when its verb is used."""


@click.group(cls=Verbs, table=VERBS)
def model() -> None:
    """Detectors: from the file that you have to what the server runs."""
