"""A stack that starts with versions that do not work: on a Triton of its own, as the stack starts it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import stacks
from tests.integration import outages
from trapstream.core.triton_names import triton_name
from trapstream.local import loading, plan, ports, triton
from trapstream.models import bundle_store, deployed
from trapstream.models.card import read_card, sha256_of, write_card
from trapstream.models.deployed import Deployed, Deployment


def unreadable(graph: onnx.GraphProto) -> None:
    """Asks for an operation that nothing has."""
    graph.node[0].op_type = "Conjure"


def failing(graph: onnx.GraphProto) -> None:
    """Loads, and fails on any image: the second row of a table with one is asked for."""
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int32), "table"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "none"))
    graph.initializer.append(numpy_helper.from_array(np.int64(1), "second"))
    graph.node.pop()
    graph.node.extend([
        helper.make_node("Mul", ["sum", "none"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["first"], to=TensorProto.INT64),
        helper.make_node("Add", ["first", "second"], ["chosen"]),
        helper.make_node("Gather", ["table", "chosen"], ["count"]),
    ])  # fmt: skip


def place(home: Path, name: str, version: str, change: Callable[[onnx.GraphProto], None] | None = None) -> None:
    """A version of a tiny model, as an import leaves it."""
    folder = stacks.write_bundle(bundle_store.folder(home, name, version), name)
    card = read_card(folder / bundle_store.CARD)
    if change is not None:
        model = onnx.load(str(folder / bundle_store.GRAPH))
        change(model.graph)
        onnx.save(model, str(folder / bundle_store.GRAPH))
    sha256 = sha256_of(folder / bundle_store.GRAPH)
    write_card(folder / bundle_store.CARD, msgspec.structs.replace(card, version=version, sha256=sha256))


async def test_a_version_that_does_not_work_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failing on its first image, or broken since it was served: once the server is well the version before serves
    and is the default one, and a line says why; what was noted without a stack and works is served."""
    monkeypatch.setenv("TRAPSTREAM_TRITON_INSTANCES", "1")
    known = Deployed()
    for name, change, untried in (
        ("elk", failing, True), ("fox", None, True), ("hare", unreadable, False),
    ):  # fmt: skip
        place(tmp_path, name, "1")
        place(tmp_path, name, "2", change)
        known = known.with_version(name, "1", Deployment()).with_default(name, "1")
        known = known.with_version(name, "2", Deployment()).with_default(name, "2", untried)
    place(tmp_path, "newt", "1", failing)
    deployed.write(tmp_path, known.with_version("newt", "1", Deployment()).with_default("newt", "1", untried=True))

    said: list[str] = []
    chosen = ports.choose(triton.PORTS, {})
    async with outages.running(plan.server(tmp_path, chosen, said.append), tmp_path):
        http = f"{ports.HOST}:{chosen['triton-http']}"
        labels = [(name, version) for name in ("elk", "fox", "hare", "newt") for version in ("1", "2")]
        served = {f"{n}@{v}" for n, v in labels if await loading.is_ready(http, triton_name(n, v))}
    assert served == {"elk@1", "fox@2", "hare@1"}
    after = deployed.read(tmp_path).models
    assert {name: each.default for name, each in after.items()} == {
        "elk": "1", "fox": "2", "hare": "1", "newt": None,
    }  # fmt: skip
    assert not [name for name, each in after.items() if each.untried]
    lines = [line for line in said if "is not served" in line]
    for line, (label, why, back) in zip(
        lines,
        [("elk@2", "first image", "elk@1"), ("hare@2", "Conjure", "hare@1"), ("newt@1", "first image", "")],
        strict=True,
    ):  # fmt: skip
        assert line.startswith(f"{label} is not served: ")
        assert why in line
        assert (f"{back} serves on" in line) == bool(back)
