"""The prose is held to the code: what exists is named in the docs, and what the docs link to exists."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import prometheus_client
import pytest

from trapstream import __version__
from trapstream.cli import exits
from trapstream.cli.main import cli
from trapstream.core import metrics, topics
from trapstream.core.errors import Reason
from trapstream.core.messages import JobState, Outcome
from trapstream.core.settings import (
    AggregatorSettings,
    ConsumerSettings,
    CoreSettings,
    NotifierSettings,
    ProducerSettings,
)
from trapstream.core.states import MOVES

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    """A page's text."""
    return (ROOT / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next one of any level."""
    return text.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in `text`: the first cell, without its backticks, to the others."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in cells}


def shown(default: Any) -> str:
    """A default as it is written in the environment."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return "[" + ", ".join(f'"{each}"' for each in default) + "]"
    return str(default)


@pytest.mark.parametrize(
    ("heading", "kind", "base"),
    [
        ("Every service", CoreSettings, None),
        ("Producer", ProducerSettings, CoreSettings),
        ("Consumer", ConsumerSettings, CoreSettings),
        ("Aggregator", AggregatorSettings, CoreSettings),
        ("Notifier", NotifierSettings, CoreSettings),
    ],
)
def test_settings_are_documented(heading: str, kind: type[CoreSettings], base: type[CoreSettings] | None) -> None:
    """Each setting stands in its service's table with its default, and the table has no other."""
    found = rows(section(page("docs/operations.md"), heading))
    inherited = set(base.model_fields) if base else set()
    defaults = {
        f"TRAPSTREAM_{name.upper()}": "required" if field.is_required() else f"`{shown(field.get_default())}`"
        for name, field in kind.model_fields.items()
        if name not in inherited
    }
    assert {name: cells[0] for name, cells in found.items() if name.startswith("TRAPSTREAM_")} == defaults


def test_variables_of_the_local_stack_are_documented() -> None:
    """Each TRAPSTREAM_ variable that the code names anywhere is in the docs."""
    code = [path.read_text() for path in (ROOT / "trapstream").rglob("*.py")]
    named = {name for text in code for name in re.findall(r"\"(TRAPSTREAM_[A-Z_]+)\"", text)} - {"TRAPSTREAM_"}
    internal = {"TRAPSTREAM_STACK", "TRAPSTREAM_FAULT"}  # the supervisor's mark on its children; for tests only
    assert [name for name in sorted(named - internal) if f"`{name}`" not in page("docs/operations.md")] == []


def test_metrics_are_documented() -> None:
    """Each metric stands in the table with its labels, and the table has no other."""
    found = rows(section(page("docs/operations.md"), "Metrics and health"))
    documented = {name: cells[0] for name, cells in found.items() if name.startswith("trapstream_")}
    kinds = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
    defined = {}
    for metric in vars(metrics).values():
        if isinstance(metric, kinds):
            name = metric._name + ("_total" if isinstance(metric, prometheus_client.Counter) else "")
            defined[name] = ", ".join(metric._labelnames)
    assert documented == defined


def test_topics_are_documented() -> None:
    """Each topic stands in the table with its partitions and its key."""
    found = rows(section(page("docs/architecture.md"), "Topics"))
    for topic in topics.TOPICS:
        partitions, key, _, kept = found[topic.name]
        assert (partitions, key) == (str(topic.partitions), topic.key)
        assert kept == ("compacted, " if topic.compact else "") + f"{topic.retention_ms // topics.DAY_MS} days"


def test_states_are_documented() -> None:
    """Each state of a job stands in the table with the states that may follow."""
    found = rows(section(page("docs/architecture.md"), "States of a job"))
    for state in JobState:
        assert set(re.findall(r"`(\w+)`", found[state][1])) == set(MOVES[state])


def test_reasons_are_documented() -> None:
    """Each reason of a failure has its row, and no row has a reason that does not exist."""
    text = page("docs/failures.md")
    found = rows(section(text, "image access failure")) | rows(section(text, "inference failure"))
    assert set(found) - {"reason", "---"} == set(Reason)
    assert all(cells[1] for cells in found.values())


def test_outcomes_are_documented() -> None:
    """What may become of an image is explained where the result is."""
    assert all(f"`{outcome}`" in page("docs/result-format.md") for outcome in Outcome)


def test_exit_statuses_are_documented() -> None:
    """Each exit status stands in the table, and the table has no other."""
    found = rows(section(page("docs/operations.md"), "Exit statuses"))
    defined = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(status) for status in found if status.isdigit()} == defined | {0}


def verbs(group: click.Group, before: str = "") -> Iterable[tuple[str, click.Command]]:
    """Every verb of the command, those of groups inside it too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_verbs_are_documented() -> None:
    """Each verb is in the operations' table and in the README or the changelog, and each has a line of help."""
    table = section(page("docs/operations.md"), "Verbs")
    for name, command in verbs(cli):
        assert re.search(rf"`{name}\b", table), name
        assert re.search(rf"\btrapstream {name}\b|`{name}`", page("README.md") + page("CHANGELOG.md")), name
        assert command.help, name


def test_options_in_the_docs_exist() -> None:
    """Each --option of `trapstream` that the docs show is one."""
    known = {option for _, command in verbs(cli) for parameter in command.params for option in parameter.opts}
    known |= {option for parameter in cli.params for option in parameter.opts}
    lines = [line for path in PAGES for line in path.read_text().splitlines() if "trapstream " in line]
    commands = [part for line in lines for part in re.findall(r"\btrapstream (?:[a-z]+ )[^;#`]*", line)]
    used = {option for text in commands for option in re.findall(r"(?<!\S)--[a-z]+", text)}
    assert used
    assert used <= known | {"--rm", "--detach", "--build"}


def test_the_changelog_knows_this_version() -> None:
    """The newest version of the changelog is the package's."""
    assert re.findall(r"^## \[([\d.]+)\]", page("CHANGELOG.md"), flags=re.MULTILINE)[0] == __version__


def anchor(heading: str) -> str:
    """A heading's anchor, as it is made of its text."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link leads to a file of the repository, and its anchor to a heading there."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, wanted = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if wanted:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), flags=re.MULTILINE)
            assert wanted in map(anchor, headings), target


def test_files_named_in_the_docs_exist() -> None:
    """Each file of the code that the docs name is there."""
    names = {
        name for path in PAGES for name in re.findall(r"`([a-z_]+/[\w/.]+\.(?:py|txt|toml|yml|sh))`", path.read_text())
    }
    assert names
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_targets_in_the_docs_exist() -> None:
    """Each `make TARGET` of the docs is a target, and each target explains itself."""
    makefile = page("Makefile")
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    declared = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[0].split())
    used = {name for path in PAGES for name in re.findall(r"(?:^    |`)make ([a-z-]+)", path.read_text(), re.MULTILINE)}
    assert explained == declared
    assert used <= explained
