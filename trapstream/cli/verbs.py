"""Groups of verbs that import a verb's module only when it is used, and the group `model`."""

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click


class Verbs(click.Group):
    """A group that finds its commands in a table: verb to `module:command`, in the order of the help.

    After them come the verbs of rooms above the command, which it may not import: packages register them as entry
    points of the group `registered`. The signatures are click's.
    """

    def __init__(self, *args: Any, table: Mapping[str, str], registered: str = "", **values: Any) -> None:
        super().__init__(*args, **values)
        self.table = table
        self.registered = registered

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All verbs, in the table's order, then those that are registered."""
        return [*self.table, *sorted(self._entry_points())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command, or None where there is no such verb."""
        command: click.Command
        if cmd_name in self.table:
            module, _, name = self.table[cmd_name].partition(":")
            command = getattr(importlib.import_module(module), name)
            return command
        if (found := self._entry_points().get(cmd_name)) is None:
            return None
        command = found.load()
        return command

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {each.name: each for each in entry_points(group=self.registered)} if self.registered else {}


MODEL_VERBS: dict[str, str] = {
    "import": "trapstream.cli.model_import:import_",
    "ls": "trapstream.cli.model_ls:ls",
    "deploy": "trapstream.cli.model_deploy:deploy",
    "rollback": "trapstream.cli.model_deploy:rollback",
    "check": "trapstream.cli.model_check:check",
    "build": "trapstream.cli.model_build:build",
    "diff": "trapstream.cli.model_diff:diff",
}
"""Verb to `module:command`, in the order of the help. A module is imported when its verb is used."""


@click.group(cls=Verbs, table=MODEL_VERBS)
def model() -> None:
    """Detectors: from the file that you have to what the server runs."""
