"""model ls, deploy, rollback: another version while jobs run, as a user does it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.acceptance.command import Command
from tests.acceptance.conftest import command_for
from tests.waiting import wait_for
from trapstream.models import deployed, store
from trapstream.models.card import Card, sha256_of, write_card

NAME = "demonstration"
IMAGES = 720
SURE = 0.5
"""Version 2 keeps no detection below this confidence: so its answers tell it apart."""


def place(home: Path, version: str, change: Any) -> None:
    """A changed copy of the demonstration model, as an import leaves one."""
    original = store.find(home, f"{NAME}@1")
    target = store.folder(home, NAME, version)
    target.mkdir(parents=True)
    graph = onnx.load(str(original.graph))
    change(graph.graph)
    onnx.save(graph, str(target / store.GRAPH))
    sha256 = sha256_of(target / store.GRAPH)
    card: Card = msgspec.structs.replace(original.card, version=version, sha256=sha256)
    write_card(target / store.CARD, card)


def surer(graph: onnx.GraphProto) -> None:
    """Raises the threshold inside the graph."""
    (threshold,) = (weight for weight in graph.initializer if weight.name == "k/threshold")
    threshold.CopyFrom(numpy_helper.from_array(np.asarray([SURE], np.float32), threshold.name))


def broken(graph: onnx.GraphProto) -> None:
    """Asks for an operation that nothing has."""
    graph.node[0].op_type = "Conjure"


def failing(graph: onnx.GraphProto) -> None:
    """Loads, and fails on any image: the suppression's columns are asked for beyond the last one."""
    (columns,) = (weight for weight in graph.initializer if weight.name == "k/columns")
    columns.CopyFrom(numpy_helper.from_array(np.asarray([0, 7], np.int64), columns.name))


@pytest.fixture
def versions(trapstream: Command) -> Iterator[Command]:
    """The stack with two more versions of its model, and as it was before afterwards."""
    place(trapstream.home, "2", surer)
    place(trapstream.home, "3", broken)
    place(trapstream.home, "4", failing)
    yield trapstream
    if default(trapstream) != "1":
        assert trapstream("model", "deploy", f"{NAME}@1").status == 0
    wait_for("the end of all others", lambda: served(trapstream) == {f"{NAME}@1"})
    with deployed.alone(trapstream.home, lambda: None):
        deployed.deployed_file(trapstream.home).unlink(missing_ok=True)
    for version in ("2", "3", "4"):
        folder = store.folder(trapstream.home, NAME, version)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def listed(command: Command) -> list[dict[str, Any]]:
    answer = command("model", "ls", "--json")
    assert answer.status == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def served(command: Command) -> set[str]:
    return {f"{model['name']}@{model['version']}" for model in listed(command) if model["state"] == "served"}


def default(command: Command) -> str:
    (version,) = (str(model["version"]) for model in listed(command) if model["default"])
    return version


def many(scenes: Path, folder: Path) -> Path:
    """A list that names each scene several times over."""
    paths = sorted(scenes.glob("*.jpg"))
    lines = [
        {"file": f"{number}/{path.name}", "uri": path.as_uri()}
        for number in range(IMAGES // len(paths))
        for path in paths
    ]
    target = folder / "many.jsonl"
    target.write_text("\n".join(map(json.dumps, lines)))
    return target


def finished(command: Command, job: str, folder: Path) -> dict[str, Any]:
    """The job's file, once it is there."""
    wait_for("the job's end", lambda: command.status(job)["state"] == "completed", 120)
    output = folder / f"{job}.json"
    assert command("results", job, "-o", output).status == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_another_version_under_load(versions: Command, scenes: Path, tmp_path: Path) -> None:
    """A job runs while another version is deployed, used by a second job, and taken back: no image of either fails or
    is lost, each file names its version, and each version goes when its last job is done."""
    source = many(scenes, tmp_path)
    first = versions("submit", source).out.strip()
    deploy = versions("model", "deploy", f"{NAME}@2")
    assert deploy.status == 0, deploy.err
    assert f"--model {NAME} means it" in deploy.err
    second = versions("submit", source).out.strip()
    assert versions.status(first)["state"] in {"open", "sealed", "running"}, "it was to run still"
    before = {model["version"]: model for model in listed(versions)}
    assert (before["1"]["state"], before["1"]["jobs"]) == ("served", [first])
    assert (before["2"]["state"], before["2"]["jobs"], before["2"]["default"]) == ("served", [second], True)

    one = finished(versions, first, tmp_path)
    wait_for("the old version's end", lambda: served(versions) == {f"{NAME}@2"})
    back = versions("model", "rollback", NAME)
    assert back.status == 0, back.err
    assert default(versions) == "1"
    third = versions("submit", scenes).out.strip()
    two, three = finished(versions, second, tmp_path), finished(versions, third, tmp_path)
    wait_for("the other version's end", lambda: served(versions) == {f"{NAME}@1"})

    for result, version, count in ((one, "1", IMAGES), (two, "2", IMAGES), (three, "1", 120)):
        assert result["info"]["detector"] == f"{NAME}_v{version}.onnx"
        assert [image for image in result["images"] if image.get("failure")] == []
        assert len(result["images"]) == count
    lowest = {job: least(result) for job, result in (("1", one), ("2", two), ("3", three))}
    assert lowest["2"] >= SURE > max(lowest["1"], lowest["3"])


def least(result: dict[str, Any]) -> float:
    return min(float(found["conf"]) for image in result["images"] for found in image["detections"])


@pytest.mark.parametrize(("version", "why"), [("3", "Conjure"), ("4", "first image")])
def test_a_version_that_does_not_work_changes_nothing(
    versions: Command, scenes: Path, tmp_path: Path, version: str, why: str
) -> None:
    """A graph that Triton refuses, or that fails on its first image: one line says why, nothing of it is left, and the
    old version serves on."""
    refused = versions("model", "deploy", f"{NAME}@{version}")
    assert refused.status == 1
    assert f"{NAME}@{version} does not load: " in refused.line()
    assert why in refused.line()
    assert served(versions) == {f"{NAME}@1"}
    assert default(versions) == "1"
    assert not list((versions.home / "triton" / "repository").glob(f"*{version}"))
    assert versions("submit", scenes, "--model", f"{NAME}@1", "--wait").status == 0
    job = versions("submit", scenes, "--model", f"{NAME}@{version}")
    assert job.status == 1
    assert f"trapstream model deploy {NAME}@{version}" in job.line()
    rollback = versions("model", "rollback", NAME)
    assert rollback.status == 1
    assert "trapstream model ls" in rollback.line()


def test_without_a_stack_it_is_noted(tmp_path: Path) -> None:
    """A deploy is kept for the next start; a graph that is none is refused at once."""
    command = command_for(tmp_path)
    place(tmp_path, "2", surer)
    place(tmp_path, "3", surer)
    (store.folder(tmp_path, NAME, "3") / store.GRAPH).write_bytes(b"nothing of the kind")
    noted = command("model", "deploy", f"{NAME}@2")
    assert noted.status == 0, noted.err
    assert "next start" in noted.line()
    rows = {model["version"]: model for model in listed(command)}
    assert (rows["2"]["state"], rows["2"]["default"], rows["1"]["default"]) == ("deployed", True, False)
    assert command("model", "deploy", f"{NAME}@3").status == 1
    assert command("model", "deploy", "yeti").status == 1
    assert command("model", "rollback", NAME).status == 0
    assert default(command) == "1"
    assert f"{NAME}@1" in command("model", "ls").out
