"""The prose is held to the code, both ways: the docs name all that exists, and all that they name exists."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import prometheus_client
import pytest
import yaml

from bench.command import bench
from trapstream import __version__
from trapstream.cli import exits
from trapstream.cli.main import cli
from trapstream.core import metrics, topics, verdict
from trapstream.core.errors import Reason, failure_text
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
NOW = [path for path in PAGES if path.name != "CHANGELOG.md"]
"""Without the page that also names verbs, options and settings that are gone."""
CODE = ("trapstream", "producer", "consumer", "aggregator", "notifier", "bench")
KINDS = (CoreSettings, ProducerSettings, ConsumerSettings, AggregatorSettings, NotifierSettings)
INTERNAL = {"TRAPSTREAM_STACK", "TRAPSTREAM_FAULT"}
"""The supervisor's mark on its children, and what lets tests kill a service at a step: neither is a setting."""


def page(name: str) -> str:
    """A page's text."""
    return (ROOT / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next one of any level."""
    return text.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]


def table(text: str) -> list[list[str]]:
    """The rows of the tables in `text`, without heads and rulers: their cells. An escaped bar is part of its cell."""
    lines = text.splitlines()
    heads = {number for number, line in enumerate(lines[:-1]) if re.match(r"\|[\s:|-]+\|$", lines[number + 1])}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if line[:1] == "|" and number not in heads and not re.match(r"\|[\s:|-]+\|$", line)
    ]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in `text`: the first cell, without its backticks, to the others. No first cell twice."""
    cells = table(text)
    names = [row[0].strip("`") for row in cells]
    assert sorted(set(names)) == sorted(names), "a row stands there twice"
    return {name: row[1:] for name, row in zip(names, cells, strict=True)}


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
    found = rows(section(page("docs/operators/settings.md"), heading))
    inherited = set(base.model_fields) if base else set()
    defaults = {
        f"TRAPSTREAM_{name.upper()}": "required" if field.is_required() else f"`{shown(field.get_default())}`"
        for name, field in kind.model_fields.items()
        if name not in inherited
    }
    assert {name: cells[0] for name, cells in found.items()} == defaults
    assert all(cells[1] for cells in found.values())


def variables() -> set[str]:
    """Each TRAPSTREAM_ variable that the code reads: the settings', and those that it names as a string."""
    texts = [path.read_text() for room in CODE for path in (ROOT / room).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"\"(TRAPSTREAM_[A-Z_]*[A-Z])\"", text)}
    return named | {f"TRAPSTREAM_{name.upper()}" for kind in KINDS for name in kind.model_fields}


def options_as_variables() -> set[str]:
    """The variables that stand for the command's options, such as TRAPSTREAM_RUN_MODEL."""
    return {
        f"TRAPSTREAM_{verb}_{parameter.name}".replace(" ", "_").replace("-", "_").upper()
        for verb, command in all_verbs().items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }


def test_variables_are_documented() -> None:
    """Each TRAPSTREAM_ variable that the code reads is on the page of settings, and has its row there."""
    found = {row[0].strip("`") for row in table(page("docs/operators/settings.md"))}
    assert sorted(variables() - INTERNAL - found) == []


def test_variables_in_the_docs_exist() -> None:
    """Each TRAPSTREAM_ variable that any page names is read somewhere."""
    known = variables() | options_as_variables()
    named = {name for path in NOW for name in re.findall(r"TRAPSTREAM_[A-Z_]*[A-Z]", path.read_text())}
    assert sorted(named - known) == []


def test_variables_of_docker_compose_are_documented() -> None:
    """The table of the machine with a GPU has each variable of docker-compose.yml with its default, and no other."""
    wanted = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", page("docker-compose.yml")))
    found = rows(section(page("docs/operators/machines.md"), "A machine with a GPU"))
    assert {name: cells[0].strip("`") for name, cells in found.items()} == wanted


def test_services_of_docker_compose_are_documented() -> None:
    """Each service of docker-compose.yml is named where it is described, and it is a service that is shown there."""
    services = set(yaml.safe_load(page("docker-compose.yml"))["services"])
    text = page("docs/operators/machines.md")
    used = set(re.findall(r"docker compose (?:run|logs)(?: -\S+)* ([a-z]+)", text))
    assert used <= services
    assert [name for name in services if not re.search(rf"\b{name}\b", text, re.IGNORECASE)] == []


def test_metrics_are_documented() -> None:
    """Each metric stands in the table with its labels, and the table has no other."""
    found = rows(section(page("docs/operators/alerts.md"), "Metrics"))
    documented = {name: cells[0] for name, cells in found.items()}
    assert documented == defined_metrics()
    assert all(cells[1] for cells in found.values())


def defined_metrics() -> dict[str, str]:
    """Each metric's name to its labels."""
    kinds = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
    return {
        metric._name + ("_total" if isinstance(metric, prometheus_client.Counter) else ""): ", ".join(
            metric._labelnames
        )
        for metric in vars(metrics).values()
        if isinstance(metric, kinds)
    }


def test_metrics_in_the_docs_exist() -> None:
    """Each metric that any page or any panel of Grafana names is one."""
    texts = [path.read_text() for path in [*PAGES, *sorted((ROOT / "deploy" / "grafana").rglob("*.json"))]]
    named = {name for text in texts for name in re.findall(r"\btrapstream_[a-z_]+", text)}
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert named
    assert sorted(named - set(defined_metrics())) == []


def test_what_a_service_waits_for_is_documented() -> None:
    """Each value of the label of `trapstream_waiting` that the docs name is in the code."""
    cell = rows(section(page("docs/operators/alerts.md"), "Metrics"))["trapstream_waiting"][1]
    texts = "\n".join(path.read_text() for room in CODE for path in (ROOT / room).rglob("*.py"))
    values = re.findall(r"`([a-z ]+)`", cell)
    assert values
    assert [value for value in values if f'"{value}"' not in texts] == []


def test_limits_are_documented() -> None:
    """The page on sizing has a row for each stage that the verdict can name, and for no other."""
    found = {row[0].strip("`") for row in table(section(page("docs/operators/sizing.md"), "What limits the rate"))}
    others = {"the processor limits", "nothing limits all the time"}
    assert found == {f"{stage} limits" for stage in verdict.KINDS} | others


def test_topics_are_documented() -> None:
    """Each topic stands in the table with its partitions and its key, and the table has no other."""
    found = rows(section(page("docs/contributors/architecture.md"), "Topics"))
    assert set(found) == {topic.name for topic in topics.TOPICS}
    for topic in topics.TOPICS:
        partitions, key, _, kept = found[topic.name]
        assert (partitions, key) == (str(topic.partitions), topic.key)
        assert kept == ("compacted, " if topic.compact else "") + f"{topic.retention_ms // topics.DAY_MS} days"


def test_states_are_documented() -> None:
    """Each state of a job stands in the table with the states that may follow, and the table has no other."""
    found = rows(section(page("docs/contributors/architecture.md"), "States of a job"))
    assert set(found) == set(JobState)
    for state in JobState:
        assert set(re.findall(r"`(\w+)`", found[state][1])) == set(MOVES[state])


def test_reasons_are_documented() -> None:
    """Each reason of a failure has its row, and no row has a reason that does not exist."""
    text = page("docs/ecologists/failures.md")
    found = rows(section(text, "image access failure")) | rows(section(text, "inference failure"))
    assert set(found) == set(Reason)
    assert all(all(cells) for cells in found.values())


def test_outcomes_are_documented() -> None:
    """What may become of an image is explained where the result is."""
    assert all(f"`{outcome}`" in page("docs/ecologists/result-file.md") for outcome in Outcome)


def test_reasons_stand_under_their_beginning() -> None:
    """Each reason stands under the words that its failure begins with."""
    text = page("docs/ecologists/failures.md")
    for beginning in ("image access failure", "inference failure"):
        assert all(failure_text(Reason(reason)).startswith(beginning) for reason in rows(section(text, beginning)))


def test_exit_statuses_are_documented() -> None:
    """Each exit status stands in the table, and the table has no other."""
    found = rows(section(page("docs/operators/command.md"), "Exit statuses"))
    defined = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(status) for status in found} == defined | {0}
    assert all(cells[0] for cells in found.values())


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


def own_verbs() -> dict[str, click.Command]:
    """The verbs without the benchmark's parts, which have a page of their own."""
    return {name: command for name, command in verbs(cli) if not name.startswith("bench ")}


def all_verbs() -> dict[str, click.Command]:
    """All verbs, the benchmark's parts too."""
    return own_verbs() | dict(verbs(bench, "bench "))


def taken(command: click.Command) -> set[str]:
    """The options of a verb, as they are typed."""
    return {name for each in command.params if isinstance(each, click.Option) for name in each.opts}


def named(cell: str) -> set[str]:
    """The options in a cell of a table."""
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cell))


def test_verbs_are_documented() -> None:
    """The table has each verb but the benchmark's parts with all of its options, and no other verb or option."""
    found = table(section(page("docs/operators/command.md"), "Verbs"))
    names = [" ".join(re.findall(r"(?<![^ `])[a-z-]+(?= |`)", row[0])) for row in found]
    wanted = own_verbs()
    assert sorted(names) == sorted(wanted)
    for name, (_, does, options) in zip(names, found, strict=True):
        assert does, name
        assert named(options) == taken(wanted[name]), name
        assert wanted[name].help, name


def test_options_are_documented() -> None:
    """The tables of options explain each one that a verb has, and no other."""
    text = page("docs/operators/command.md")
    wanted = {option for command in own_verbs().values() for option in taken(command)}
    before, after = section(text, "Options").split("After the verb.")
    assert {option for row in table(after) for option in named(row[0])} == wanted
    assert {option for row in table(before) for option in named(row[0])} == taken(cli)


def test_benchmarks_are_documented() -> None:
    """The table has each part of the benchmark with its own options, and no other; shared options have their table."""
    text = page("docs/operators/benchmark.md")
    found = rows(section(text, "Parts"))
    parts = dict(verbs(bench))
    assert set(found) == set(parts)
    shared = set.intersection(*(taken(command) for command in parts.values()))
    assert {name: named(cells[2]) for name, cells in found.items()} == {
        name: taken(command) - shared for name, command in parts.items()
    }
    everywhere, own = section(text, "Options").split("Some parts")
    assert {option for row in table(everywhere) for option in named(row[0])} == shared
    assert {(row[1].strip("`"), option) for row in table(own) for option in named(row[0])} == {
        (name, option) for name, command in parts.items() for option in taken(command) - shared
    }


def test_what_bench_all_leaves_out_is_documented() -> None:
    """The parts that the table marks as not in `all` are those that the help of `bench all` excepts."""
    found = rows(section(page("docs/operators/benchmark.md"), "Parts"))
    excepted = re.findall(r"\w+", str(dict(verbs(bench))["all"].help).partition(" but ")[2])
    assert {name for name, cells in found.items() if cells[1] == "no"} == set(excepted) - {"and"}


def calls_in(text: str) -> Iterable[list[str]]:
    """Each call of `trapstream` that a page shows, as words: in a line of its own, or between backticks.

    Between backticks the name of the program may be left out: `submit --weight 3`, `bench fold`.
    """
    known = {name.split()[0] for name in all_verbs()}
    blocks = re.findall(r"^    (.*)$", text, flags=re.MULTILINE)
    inline = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    quoted = re.compile(r"'[^']*'|\"[^\"]*\"")
    for line in (*blocks, *inline):
        for call in re.split(r"\s#|;|\||&&", quoted.sub("QUOTED", line)):
            if found := re.search(r"(?:^|[\s/(])trapstream((?: .*)?)$", call.strip()):
                yield found[1].split()
    yield from (words for words in map(str.split, inline) if words and words[0] in known)


@pytest.mark.parametrize("path", NOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_calls_in_the_docs_are_right(path: Path) -> None:
    """Each call of `trapstream` that a page shows has a verb that exists, with options that this verb has."""
    known = all_verbs()
    groups = {name.split()[0] for name in known if " " in name}
    for call in calls_in(path.read_text()):
        words = call
        while words and words[0].startswith("-"):  # before the verb
            assert words[0] in taken(cli), call
            words = words[2 if words[0] == "--home" else 1 :]
        if not words or not re.fullmatch(r"[a-z-]+", words[0]):  # the program itself, or VERB
            continue
        if words[0] in groups and (len(words) == 1 or not re.fullmatch(r"[a-z0-9-]+", words[1])):
            continue  # a group in general: `trapstream bench PART`
        verb = " ".join(words[:2]) if words[0] in groups else words[0]
        assert verb in known, call
        used = {re.sub(r"[=\].,:]+.*$", "", word).lstrip("[") for word in words if re.match(r"\[?--?[a-z]", word)}
        assert used <= taken(known[verb]), call


def test_options_named_in_the_docs_exist() -> None:
    """Each option that a page names between backticks is one of this command, or of a program that is named there."""
    known = {option for command in all_verbs().values() for option in taken(command)} | taken(cli) | {"--help"}
    others = {"--ncores", "--use_image_queue", "--preprocess_on_image_queue", "--python", "--triton"}
    found = {
        option
        for path in NOW
        for code in re.findall(r"(?<!`)`(--?[a-z][^`]*)`(?!`)", path.read_text())
        for option in re.findall(r"(?<!\S)--?[a-z][a-z_-]*", code)
    }
    assert found
    assert sorted(found - known - others) == []


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


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_are_there_and_small(path: Path) -> None:
    """Each picture of a page is there, is described in words, and is small."""
    for words, target in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", path.read_text()):
        assert words, target
        assert (path.parent / target).stat().st_size < 200_000, target


def test_every_page_is_reached() -> None:
    """Each page can be reached from the README by links."""
    reached, look = set(), [ROOT / "README.md"]
    while look:
        path = look.pop()
        if path in reached:
            continue
        reached.add(path)
        targets = re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", path.read_text())
        look += [(path.parent / target).resolve() for target in targets]
    assert sorted(set(PAGES) - reached) == []


def test_pages_named_in_the_code_exist() -> None:
    """Each page that a message, a comment or a docstring of the code names is there."""
    files = [path for room in (*CODE, "model_repository", "deploy") for path in (ROOT / room).rglob("*")]
    files = [path for path in files if path.suffix in {".py", ".yml", ".Dockerfile", ".json"}]
    texts = [
        path.read_text() for path in [*files, ROOT / "docker-compose.yml", ROOT / "Makefile", ROOT / "pyproject.toml"]
    ]
    pages = {name for text in texts for name in re.findall(r"(?<![\w/])docs/(?!release-notes)[\w/-]+\.md", text)}
    assert pages
    assert [name for name in sorted(pages) if not (ROOT / name).exists()] == []


def test_ecologists_read_of_no_machinery() -> None:
    """The ecologists' pages name neither Kafka nor any file of the code."""
    for path in sorted((ROOT / "docs" / "ecologists").glob("*.md")):
        assert not re.search(
            r"kafka|partition|offset|consumer|aggregator|[a-z_]+\.py\b", path.read_text(), re.IGNORECASE
        ), path


def test_files_named_in_the_docs_exist() -> None:
    """Each file of the code that the docs name is there."""
    names = {
        name
        for path in PAGES
        for name in re.findall(r"`([a-z_.]+/[\w/.-]+\.(?:py|txt|toml|yml|sh|md|json))`", path.read_text())
        if not name.startswith(("results/", "docs/measurements"))
    }
    modules = {
        name.replace(".", "/")
        for path in PAGES
        for name in re.findall(
            r"python (?:-P )?-m ((?:bench|training|model_repository|trapstream)(?:\.\w+)+)", path.read_text()
        )
    }
    names |= {f"{name}/__main__.py" if (ROOT / name).is_dir() else f"{name}.py" for name in modules}
    assert names and modules
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_targets_are_documented() -> None:
    """Each target of the Makefile explains itself and is on a page; each one on a page exists, with its variables."""
    makefile = page("Makefile")
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    declared = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[0].split())
    calls = [
        call
        for path in PAGES
        for call in re.findall(r"(?:^    |`|time )make ([^`#\n]+)", path.read_text(), re.MULTILINE)
    ]
    used = {word for call in calls for word in call.split() if re.fullmatch(r"[a-z-]+", word)}
    variables = {name for call in calls for name in re.findall(r"\b([A-Z]+)=", call)}
    assert explained == declared
    assert used == explained - {"help"}
    read = makefile + page("deploy/find-python")
    assert [name for name in sorted(variables) if not re.search(rf"\b{name}\b", read)] == []
