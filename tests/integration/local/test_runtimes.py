"""The runtimes without a GPU: the real Triton's answers against the original and in any company, and the choice."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.grpc import InferenceServerClient as Control
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

import model_repository.demonstration
from bench.tools import tensorrt_table
from model_repository.templates.cpu import model as served
from tests.stacks import RunningStack
from tests.unit import bundles
from trapstream.core.triton_names import triton_name
from trapstream.local import triton
from trapstream.models import repository_entry, runtimes
from trapstream.models.agreement import CONFIDENCE, ENOUGH
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import read_card
from trapstream.models.check import NotServed, Row, check_bundle, in_triton
from trapstream.models.deployed import PRECISION, Runtime
from trapstream.models.pictures import drawn

OUTPUTS = [InferRequestedOutput("detections"), InferRequestedOutput("count")]
DEMONSTRATION = Path(model_repository.demonstration.__path__[0])
HERE: tuple[Runtime, ...] = tuple(r for r in runtimes.ALL if PRECISION[r] == "float32" or runtimes.has_bfloat16())
"""Those that this CPU can run."""
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of random weights."""
    return bundles.write(tmp_path_factory.mktemp("random"), bundles.random_model())


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demonstration model, under a name of its own."""
    folder = tmp_path_factory.mktemp("detector")
    shutil.copy(DEMONSTRATION / "model.onnx", folder)
    card = msgspec.structs.replace(read_card(DEMONSTRATION / "card.json"), name="detector")
    return Bundle(folder, card)


@pytest.fixture(scope="module", params=HERE)
def runtime(request: pytest.FixtureRequest, stack: RunningStack, detector: Bundle) -> Iterator[Runtime]:
    """The bundle's entry, served by one of the runtimes."""
    name = triton_name(detector.card.name, detector.card.version)
    serving = repository_entry.CpuServing(instances=2, threads=1)
    folder = repository_entry.render_cpu(detector.graph, name, stack.home / triton.REPOSITORY, serving, request.param)
    control = Control(stack.triton)
    control.load_model(name)
    yield request.param
    control.unload_model(name)
    shutil.rmtree(folder)


def pictures(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


async def ask(client: InferenceServerClient, detector: Bundle, images: Array) -> Array:
    tensor = InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    name = triton_name(detector.card.name, detector.card.version)
    answer = (await client.infer(name, [tensor], outputs=OUTPUTS)).as_numpy("detections")
    return np.asarray(answer)


def test_triton_gives_the_original_s_answers(stack: RunningStack, detector: Bundle, runtime: Runtime) -> None:
    """float32 passes the check, and is near exact; bfloat16 is within its tolerance of confidences."""
    report = check_bundle(detector.folder, "float32", drawn(detector.card, 6), [in_triton(stack.triton, detector.card)])
    here = report.rows[1]
    assert here.compared >= 4
    assert here.precision == PRECISION[runtime]
    assert here.worst("confidence")[0] <= CONFIDENCE[here.precision]
    if here.precision == "float32":
        assert here.agrees, here.offending
        assert here.worst("box")[0] < 1e-5
        assert here.worst("confidence")[0] < 1e-4


async def test_the_company_in_a_batch_changes_no_bit(stack: RunningStack, detector: Bundle, runtime: Runtime) -> None:
    """The same bytes alone and in mixed company; an image that fails costs its neighbours nothing."""
    shapes = [(1, 96, 128, 3), (3, 96, 128, 3), (1, 128, 96, 3), (2, 64, 64, 3), (4, 96, 128, 3)] * 2
    batches: list[Array] = [pictures(10 + number, *shape) for number, shape in enumerate(shapes)]
    bad = np.zeros((1, 0, 64, 3), np.uint8)
    async with InferenceServerClient(stack.triton) as client:
        together = await asyncio.gather(
            *(ask(client, detector, each) for each in (*batches, bad)), return_exceptions=True
        )
        alone = [[await ask(client, detector, image[None]) for image in images] for images in batches]
    for whole, parts in zip(together, alone, strict=False):
        assert isinstance(whole, np.ndarray), whole
        assert whole.tobytes() == np.concatenate(parts).tobytes()
    assert isinstance(together[-1], InferenceServerException)


def test_a_plan_is_measured_through_whatever_serves_it(stack: RunningStack, detector: Bundle, runtime: Runtime) -> None:
    """What bench/tools/tensorrt_table.py asks of Triton it can ask of any: the rate, and how far the answers are."""
    assert tensorrt_table.through(detector, stack.triton, (2, 96, 128, 3), seconds=0.2) > 0
    if runtime == "onnxruntime":
        assert "detections compared" in tensorrt_table.agreement(detector, stack.triton)


def test_a_bundle_that_is_not_loaded_is_told(stack: RunningStack, random: Bundle) -> None:
    with pytest.raises(NotServed, match="does not serve random@1"):
        in_triton(stack.triton, random.card)


@pytest.mark.parametrize("runtime", HERE)
def test_the_sizes_that_came_before_change_no_bit(random: Bundle, runtime: Runtime) -> None:
    """A process that starts anew after a crash sees other sizes first, and gives the same bytes."""
    images: list[Array] = [pictures(n, 1, *shape, 3) for n, shape in enumerate([(96, 128), (128, 96), (64, 64)])]
    seen: dict[int, set[bytes]] = {number: set() for number in range(3)}
    for order in ((0, 1, 2), (2, 1, 0, 1), (1, 2, 0)):
        session = served.open_session(random.graph, 1, runtime.partition("-")[0], PRECISION[runtime])
        place = session.outputs.index("detections")
        for number in order:
            seen[number].add(session.run(images[number])[place].tobytes())
    assert [len(answers) for answers in seen.values()] == [1, 1, 1]


ENDED_IN_ORDER = """
import pathlib, signal, sys
import numpy as np
from model_repository.templates.cpu.model import open_session
opened = [open_session(pathlib.Path(sys.argv[1]), 1, *sys.argv[2:]) for _ in range(3)]
for each in opened:
    each.run(np.zeros((1, 96, 128, 3), np.uint8))
del each
while opened:
    del opened[0]
signal.signal(signal.SIGALRM, lambda *_: print("heard"))
signal.raise_signal(signal.SIGALRM)
"""


@pytest.mark.parametrize("runtime", HERE)
def test_sessions_leave_signals_to_the_process(random: Bundle, runtime: Runtime) -> None:
    """Sessions that end in the order in which they were opened take nothing from a signal's handler."""
    arguments = (str(random.graph), runtime.partition("-")[0], PRECISION[runtime])
    heard = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ENDED_IN_ORDER, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (heard.returncode, heard.stdout) == (0, "heard\n"), heard.stderr


@pytest.mark.parametrize("runtime", [runtime for runtime in HERE if runtime.startswith("openvino")])
def test_a_size_that_the_graph_cannot_take_leaves_no_trace(detector: Bundle, runtime: Runtime) -> None:
    """It is an error, never the answer for the image before it; the next image of that one's size is answered anew."""
    session, fresh = (
        served.open_session(detector.graph, 1, runtime.partition("-")[0], PRECISION[runtime]) for _ in range(2)
    )
    place = session.outputs.index("detections")
    session.run(pictures(0, 1, 128, 96, 3))
    for number, shape in enumerate([(33, 47, 3), (0, 64, 3), (128, 96, 4), (1, 1, 3)]):
        with pytest.raises((ValueError, RuntimeError), match="an image of shape"):
            session.run(pictures(1, 1, *shape))
        image = pictures(2 + number, 1, 128, 96, 3)
        assert session.run(image)[place].tobytes() == fresh.run(image)[place].tobytes()


def test_the_fastest_that_passes_is_chosen(detector: Bundle) -> None:
    """All that run here are tried, float32 passes; the line says how fast each is."""
    choice = runtimes.choose(detector, threads=1, seconds=0.5)
    assert {trial.runtime for trial in choice.trials if trial.images_per_second} == set(HERE)
    assert {"onnxruntime", "openvino"} <= {trial.runtime for trial in choice.trials if trial.agrees}
    best = max(trial.images_per_second for trial in choice.trials if trial.agrees)
    chosen = next(trial for trial in choice.trials if trial.runtime == choice.runtime)
    assert chosen.images_per_second * runtimes.MARGIN >= best > 0
    assert all(f"{runtime} " in choice.why for runtime in HERE)


def test_a_runtime_that_fails_the_check_is_not_chosen(random: Bundle, tmp_path: Path) -> None:
    """Where the graph is not the original's none is, and the error says what is wrong."""
    other = bundles.write(tmp_path, bundles.random_model(shift=-10))
    (other.folder / "raw.onnx").write_bytes((random.folder / "raw.onnx").read_bytes())
    with pytest.raises(runtimes.NoRuntime, match=r"random@1 fails the check: onnxruntime .* not to be used"):
        runtimes.choose(other, threads=1, among=("onnxruntime",), seconds=0.1)


def test_a_graph_that_no_runtime_reads_gives_one_line(random: Bundle, tmp_path: Path) -> None:
    (tmp_path / "raw.onnx").write_bytes((random.folder / "raw.onnx").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(runtimes.NoRuntime, match="onnxruntime, not to be used"):
        runtimes.choose(Bundle(tmp_path, random.card), threads=1, among=("onnxruntime",), seconds=0.1)


def test_a_little_faster_is_not_enough() -> None:
    """The order decides between near equals, so that the load of the moment does not."""
    trials = [
        runtimes.Trial("onnxruntime", 100, agrees=True),
        runtimes.Trial("openvino", 105, agrees=True),
        runtimes.Trial("openvino-bfloat16", 300, agrees=False, fault="boxes"),
    ]
    assert runtimes.fastest(trials) == trials[0]
    assert runtimes.fastest([*trials[:2], runtimes.Trial("openvino-bfloat16", 111, agrees=True)]) != trials[0]
    assert runtimes.fastest(trials[2:]) is None


def test_a_lower_precision_is_not_chosen_on_too_little(tmp_path: Path) -> None:
    """Where next to nothing in the pictures is above 0.1, float32 runs the model, whatever is faster."""
    raw = bundles.random_model()
    unsure = bundles.write(tmp_path, replace(raw, graph=bundles.surer(raw.graph, 0.09)))
    choice = runtimes.choose(unsure, threads=1, seconds=0.1)
    assert PRECISION[choice.runtime] == "float32"
    assert [trial.agrees for trial in choice.trials] == [True, True, False]


@pytest.mark.parametrize("runtime", runtimes.ALL)
def test_how_much_is_enough(runtime: Runtime) -> None:
    """Ten detections above 0.1 show a lower precision, nine do not; float32 needs none."""
    for sure, agrees in ((ENOUGH, True), (ENOUGH - 1, PRECISION[runtime] == "float32")):
        trial = runtimes.judged(runtime, 9.0, Row(runtime, PRECISION[runtime], {}, sure))
        assert (trial.agrees, bool(trial.fault)) == (agrees, not agrees)
