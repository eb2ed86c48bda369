"""model ls, deploy, rollback: another version while jobs run, as a user does it."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.acceptance.command import Command
from tests.acceptance.conftest import command_for
from tests.waiting import patient, wait_for
from trapstream.models import bundle_store, deployed
from trapstream.models.card import Card, sha256_of, write_card

NAME = "demonstration"
SECONDS = 1.0
"""The camera's for an image, until it is told to hurry: its consumer asks for 32 at a time."""
SURE = 0.5
"""Version 2 keeps no detection below this confidence: so its answers tell it apart."""

PLAIN = ("--runtime", "onnxruntime", "--unchecked")
"""What is deployed here answers otherwise than its original, on purpose."""


def place(home: Path, version: str, change: Any) -> None:
    """A changed copy of the demonstration model, as an import leaves one."""
    original = bundle_store.find(home, f"{NAME}@1")
    target = bundle_store.folder(home, NAME, version)
    target.mkdir(parents=True)
    graph = onnx.load(str(original.graph))
    change(graph.graph)
    onnx.save(graph, str(target / bundle_store.GRAPH))
    sha256 = sha256_of(target / bundle_store.GRAPH)
    card: Card = msgspec.structs.replace(original.card, version=version, sha256=sha256)
    write_card(target / bundle_store.CARD, card)


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
        folder = bundle_store.folder(trapstream.home, NAME, version)
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


@dataclass(frozen=True)
class Camera:
    """A web server with the scenes that takes its time: so a job lasts, however fast or slow the machine is."""

    address: str
    hurry: threading.Event


class Patient(http.server.ThreadingHTTPServer):
    """Has room for all fetches that come at once: who finds none tries again after a second, which a fetch has not."""

    request_queue_size = 256


@pytest.fixture
def camera(scenes: Path) -> Iterator[Camera]:
    """One that is not told to hurry yet."""
    hurry = threading.Event()

    class Slow(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            hurry.wait(SECONDS)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    handler = functools.partial(Slow, directory=str(scenes))
    server = Patient(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Camera(f"http://127.0.0.1:{server.server_address[1]}", hurry)
    hurry.set()
    server.shutdown()
    server.server_close()


def photos(camera: Camera, scenes: Path, target: Path, times: int) -> Path:
    """A list that names each scene several times over."""
    names = [path.name for path in sorted(scenes.glob("*.jpg"))]
    lines = [{"file": f"{n}/{name}", "uri": f"{camera.address}/{name}?{n}"} for n in range(times) for name in names]
    target.write_text("\n".join(map(json.dumps, lines)))
    return target


def finished(command: Command, job: str, folder: Path) -> dict[str, Any]:
    """The job's file, once it is there."""
    wait_for("the job's end", lambda: command.status(job)["state"] == "completed", 120)
    output = folder / f"{job}.json"
    assert command("results", job, "-o", output).status == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_another_version_under_load(versions: Command, camera: Camera, scenes: Path, tmp_path: Path) -> None:
    """A job runs while another version is deployed, used by a second job, and taken back: no image fails or is lost,
    each file names its version, and the other version goes when its last job is done."""
    times = round(patient(4))  # on a slower machine the other version takes longer to come, and the job as well
    first = versions("submit", photos(camera, scenes, tmp_path / "first.jsonl", times)).out.strip()
    deploy = versions("model", "deploy", f"{NAME}@2", *PLAIN)
    assert deploy.status == 0, deploy.err
    assert f"--model {NAME} means it" in deploy.err
    second = versions("submit", photos(camera, scenes, tmp_path / "second.jsonl", 1)).out.strip()
    rows = {model["version"]: model for model in listed(versions)}
    assert (rows["1"]["state"], rows["1"]["jobs"], rows["1"]["default"]) == ("served", [first], False)
    assert (rows["2"]["state"], rows["2"]["jobs"], rows["2"]["default"]) == ("served", [second], True)
    back = versions("model", "rollback", NAME)
    assert back.status == 0, back.err
    third = versions("submit", scenes).out.strip()
    camera.hurry.set()

    for job, version, count in ((first, "1", 120 * times), (second, "2", 120), (third, "1", 120)):
        result = finished(versions, job, tmp_path)
        assert result["info"]["detector"] == f"{NAME}_v{version}.onnx"
        assert [image for image in result["images"] if image.get("failure")] == []
        assert len(result["images"]) == count
        assert (least(result) >= SURE) == (version == "2"), "what answered was not what the file says"
    wait_for("the other version's end", lambda: served(versions) == {f"{NAME}@1"})


def least(result: dict[str, Any]) -> float:
    return min(float(found["conf"]) for image in result["images"] for found in image["detections"])


def test_a_version_that_does_not_work_changes_nothing(versions: Command, scenes: Path) -> None:
    """A graph that Triton refuses, or that fails on its first image: one line says why, nothing of it is left, and the
    old version serves on. Nobody can submit a job for it, nor roll back to it."""
    for version, why in (("3", "Conjure"), ("4", "first image")):
        refused = versions("model", "deploy", f"{NAME}@{version}", *PLAIN)
        assert refused.status == 1
        assert f"{NAME}@{version} does not load: " in refused.line()
        assert why in refused.line()
        assert not list((versions.home / "triton" / "repository").glob(f"*@{version}"))
    assert served(versions) == {f"{NAME}@1"}
    assert default(versions) == "1"
    job = versions("submit", scenes, "--model", f"{NAME}@3")
    assert job.status == 1
    assert f"trapstream model deploy {NAME}@3" in job.line()
    rollback = versions("model", "rollback", NAME)
    assert rollback.status == 1
    assert "trapstream model ls" in rollback.line()


def test_the_runtime_is_chosen_and_what_is_served_is_checked(versions: Command, scenes: Path, tmp_path: Path) -> None:
    """auto says which runtime it took; the check asks Triton too, and fails where a version answers otherwise."""
    for path in sorted(scenes.glob("*.jpg"))[:12]:
        (tmp_path / path.name).symlink_to(path)
    try:
        chosen = versions("model", "deploy", f"{NAME}@1", "--runtime", "auto")
        assert chosen.status == 0, chosen.err
        took = next(model["runtime"] for model in listed(versions) if model["version"] == "1")
        assert f"{took} runs it" in chosen.err
        checked = versions("model", "check", f"{NAME}@1", "--images", tmp_path)
        assert checked.status == 0, checked.err
        for side in ("bundle in ONNX Runtime", f"Triton ({took.partition('-')[0]})"):
            (row,) = [line for line in checked.out.splitlines() if line.startswith(side)]
            images, found = row.removeprefix(side).split()[:2]
            assert (images, int(found) >= 3, row.split()[-1]) == ("12", True, "passes")
    finally:
        assert versions("model", "deploy", f"{NAME}@1", "--runtime", "onnxruntime").status == 0
    other = versions("model", "check", f"{NAME}@2", "--images", tmp_path)
    assert other.status == 1
    assert f"{NAME}@2 fails the check" in other.line()


def test_a_job_says_that_it_waits_for_its_model(versions: Command, scenes: Path) -> None:
    """A job whose model is not served says so, and what loads it; deployed, it goes on and is done."""
    kafka = json.loads(versions("ps", "--json").out)["endpoints"]["kafka"]
    model = f"{NAME}@2"
    job = versions("submit", scenes, "--model", model, "--kafka", kafka).out.strip()
    wait_for("word of it", lambda: versions.status(job)["waits_for_model"] == model)
    said = versions("status", job).out
    assert f"waits for its model {model}" in said
    assert f"trapstream model deploy {model}" in said
    assert versions("model", "deploy", model, *PLAIN).status == 0
    wait_for("the job's end", lambda: versions.status(job)["state"] == "completed", 60)
    assert "waits for" not in versions("status", job).out


def test_a_runtime_that_is_named_is_tried(tmp_path: Path) -> None:
    """One that does not answer as the original does is refused, and what is wrong is said; --unchecked takes it."""
    command = command_for(tmp_path)
    place(tmp_path, "2", surer)
    refused = command("model", "deploy", f"{NAME}@2", "--runtime", "openvino")
    assert refused.status == 1
    assert f"{NAME}@2 fails the check: openvino " in refused.line()
    assert "of the original is missing" in refused.line()
    assert "--unchecked takes openvino all the same" in refused.line()
    assert not deployed.deployed_file(tmp_path).exists()
    assert command("model", "deploy", f"{NAME}@2", "--runtime", "openvino", "--unchecked").status == 0
    assert command("model", "deploy", f"{NAME}@2", "--runtime", "auto", "--unchecked").status == 2
    assert {model["version"]: model["runtime"] for model in listed(command)}["2"] == "openvino"


def test_without_a_stack_it_is_noted(tmp_path: Path) -> None:
    """A deploy is kept for the next start; a graph that is none is refused at once."""
    command = command_for(tmp_path)
    place(tmp_path, "2", surer)
    place(tmp_path, "3", surer)
    (bundle_store.folder(tmp_path, NAME, "3") / bundle_store.GRAPH).write_bytes(b"nothing of the kind")
    noted = command("model", "deploy", f"{NAME}@2", *PLAIN)
    assert noted.status == 0, noted.err
    assert "next start" in noted.line()
    rows = {model["version"]: model for model in listed(command)}
    assert (rows["2"]["state"], rows["2"]["default"], rows["1"]["default"]) == ("deployed", True, False)
    assert command("model", "deploy", f"{NAME}@3", *PLAIN).status == 1
    assert command("model", "deploy", "yeti").status == 1
    assert command("model", "rollback", NAME).status == 0
    assert default(command) == "1"
    shown = command("model", "ls").out
    assert f"*  {NAME}@1 " in shown and f"   {NAME}@2 " in shown
