"""TensorRT plans: everything but the last call, which needs a GPU."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc import model_config_pb2

from consumer import detect
from tests.waiting import patient
from trapstream.images.letterbox import letterbox
from trapstream.models import bundle_store, repository_entry, tensorrt
from trapstream.models.bundle_store import Bundle
from trapstream.models.complete import Rule
from trapstream.models.plan_key import Gpu, PlanKey, Profile, Shape, profiles
from trapstream.models.tensorrt import NoGpu, find_gpu
from trapstream.models.tensorrt_plan import Plan, PlanError, build, data_dependent, input_dims, plans_folder, prepare
from trapstream.scenes.scene import write_scenes

FREE = (None, None, None, 3)
GPU = Gpu("NVIDIA H100 80GB HBM3", (9, 0))
sizes = st.tuples(st.sampled_from([320, 640, 960, 1280, 1920]), st.sampled_from([32, 64])).filter(
    lambda pair: pair[0] % pair[1] == 0
)


class Compiler:
    """In TensorRT's place: notes what it is asked, and answers with bytes."""

    def __init__(self, version: str = "11.2.1.2", gpu: Gpu = GPU) -> None:
        self.version, self.gpu = version, gpu
        self.asked: list[tuple[bytes, tuple[Profile, ...]]] = []
        self.error: Exception | None = None

    def compile(self, graph: bytes, shapes: tuple[Profile, ...]) -> bytes:
        """A plan that is another one each time."""
        self.asked.append((graph, shapes))
        if self.error is not None:
            raise self.error
        return b"plan %d" % len(self.asked)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """The demonstration model."""
    return bundle_store.find(tmp_path, "demonstration")


def make(home: Path, bundle: Bundle, compiler: Compiler, most: int = 32) -> Plan:
    """A plan."""
    return build(home, bundle, compiler, most)


def within(shape: Shape, profile: Profile) -> bool:
    """Whether a profile allows a shape."""
    return all(low <= at <= high for low, at, high in zip(profile.smallest, shape, profile.largest, strict=True))


def test_megadetector_s_profiles() -> None:
    """MegaDetector's usual shapes, landscape and upright, in batches of 1 to 32, and one profile for all others."""
    found = profiles(1280, 64, FREE, 32)
    assert [each.tuned[1:3] for each in found if each.exact] == [(960, 1280), (768, 1280), (1280, 960), (1280, 768)]
    assert all((each.smallest[0], each.tuned[0], each.largest[0]) == (1, 32, 32) for each in found)
    assert found[-1].smallest == (1, 64, 64, 3) and found[-1].largest == (32, 1280, 1280, 3)


@given(sizes, st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 32))
def test_every_letterboxed_shape_has_a_profile(size: tuple[int, int], width: int, height: int, batch: int) -> None:
    """Whatever the consumer's letterbox makes of a photograph, a profile allows it."""
    laid = letterbox(width, height, *size)
    shape = (batch, laid.padded_height, laid.padded_width, 3)
    assert any(within(shape, each) for each in profiles(*size, FREE, 32))


@given(sizes, st.sampled_from([(4000, 3000), (1920, 1080), (2048, 1536)]), st.booleans(), st.integers(1, 32))
def test_usual_photographs_run_by_their_own_profile(
    size: tuple[int, int], photograph: tuple[int, int], upright: bool, batch: int
) -> None:
    """Of the profiles that allow a 4:3 or 16:9 photograph its own is the nearest, in both of Triton's ways to count."""
    width, height = photograph[::-1] if upright else photograph
    laid = letterbox(width, height, *size)
    shape = (batch, laid.padded_height, laid.padded_width, 3)
    shifted = (batch, batch, *shape[1:3])
    allowed = [each for each in profiles(*size, FREE, 32) if within(shape, each)]
    for counted in (shape, shifted):
        nearest = min(allowed, key=lambda each: sum(abs(a - b) for a, b in zip(each.tuned, counted, strict=True)))
        assert nearest.exact and nearest.tuned[1:] == shape[1:]


def test_a_fixed_input_has_one_profile() -> None:
    """A graph for one size gets that size, and one that no plan can serve is refused."""
    assert [each.tuned for each in profiles(640, 32, (None, 640, 640, 3), 8)] == [(8, 640, 640, 3)]
    for dims in ((1, None, None, 3), (None, 640, None, 3), (None, 3, 640, 640), (None, 640, 640)):
        with pytest.raises(ValueError, match="graph"):
            profiles(640, 32, dims, 8)


def test_a_plan_is_built_once(tmp_path: Path, bundle: Bundle) -> None:
    """The first call builds, the second finds; nothing else is left in the folder."""
    compiler = Compiler()
    first, second = make(tmp_path, bundle, compiler), make(tmp_path, bundle, compiler)
    assert (first.built, second.built, len(compiler.asked)) == (True, False, 1)
    assert first.path == second.path and first.path.read_bytes() == b"plan 1"
    assert first.path.name.startswith("demonstration@1-trt11.2.1.2-NVIDIA-H100-80GB-HBM3-cc9.0-b32-")
    assert {path.suffix for path in plans_folder(tmp_path).iterdir()} == {".plan"}


def test_a_change_of_any_part_builds_anew(tmp_path: Path, bundle: Bundle) -> None:
    """Another graph, precision, TensorRT, GPU, capability or batch is another plan; the old ones stay."""
    changes: list[tuple[Bundle, Compiler, int]] = [
        (bundle, Compiler(), 32),
        (_changed(bundle, sha256="0" * 64), Compiler(), 32),
        (_changed(bundle, precision="float16"), Compiler(), 32),
        (_changed(bundle, image_size=1280), Compiler(), 32),
        (bundle, Compiler(version="11.2.1.3"), 32),
        (bundle, Compiler(gpu=replace(GPU, name="NVIDIA L4")), 32),
        (bundle, Compiler(gpu=replace(GPU, capability=(8, 9))), 32),
        (bundle, Compiler(), 16),
    ]
    plans = [make(tmp_path, *change) for change in changes]
    assert all(plan.built for plan in plans)
    assert len({plan.path for plan in plans}) == len(changes)
    assert all(plan.path.exists() for plan in plans)


def test_the_key_s_file() -> None:
    """Other code that makes plans of the same parts has other files, and a GPU's name cannot leave the folder."""
    key = PlanKey("a@1", "0" * 64, "float32", "11.2", GPU, profiles(640, 32, FREE, 4))
    assert replace(key, recipe=key.recipe + 1).file != key.file
    assert "/" not in replace(key, gpu=Gpu("/../x y", (1, 0))).file


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, bundle: Bundle) -> None:
    """A failed build and a broken disk leave no half plan, and the next call builds."""
    compiler = Compiler()
    compiler.error = PlanError("no")
    with pytest.raises(PlanError, match="no"):
        make(tmp_path, bundle, compiler)
    assert not plans_folder(tmp_path).exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match="make room"):
        make(tmp_path / "file", bundle, Compiler())
    compiler.error = None
    assert make(tmp_path, bundle, compiler).built


def _changed(bundle: Bundle, **parts: Any) -> Bundle:
    return replace(bundle, card=msgspec.structs.replace(bundle.card, **parts))


def test_the_prepared_graph_gives_the_same_numbers(tmp_path: Path, bundle: Bundle) -> None:
    """TensorRT gets a graph in which pixels are cast first, and whose answers are the same bit for bit."""
    graph = onnx.load(str(bundle.graph))
    prepared = prepare(graph)
    (reader,) = [node for node in prepared.graph.node if detect.INPUT in node.input]
    assert reader.op_type == "Cast"
    assert prepare(prepared) == prepared
    list(write_scenes(tmp_path, 3, seed=5, size=(640, 480)))
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(tmp_path.glob("*.jpg"))])
    answers = []
    for model in (graph, prepared):
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        answers.append(session.run(list(detect.OUTPUTS), {detect.INPUT: pixels}))
    assert answers[0][1].sum() > 0
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_suppression_keeps_a_plan_from_being_recorded(bundle: Bundle) -> None:
    """The demonstration model suppresses overlaps inside its graph, so it is not run as a CUDA graph."""
    graph = onnx.load(str(bundle.graph))
    assert data_dependent(graph) == ["NonMaxSuppression"]
    assert input_dims(graph) == FREE


@settings(deadline=None)
@given(sizes, st.sampled_from([1, 5, 16, 32]), st.booleans(), st.sampled_from([FREE, (None, 640, 640, 3)]))
def test_the_entry_is_one_that_triton_reads(
    size: tuple[int, int], most: int, recordable: bool, dims: tuple[int | None, ...]
) -> None:
    """Triton's own format takes the configuration; it names each profile, and warms up what each usual shape needs."""
    shapes = profiles(*size, dims, most)
    text = repository_entry.plan_config("cat@1.2", shapes, recordable, instances=3)
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("cat@1.2", "tensorrt", most)
    (given_input,) = config.input
    assert given_input.name == detect.INPUT and given_input.data_type == model_config_pb2.TYPE_UINT8
    assert list(given_input.dims) == ([-1, -1, 3] if dims == FREE else [640, 640, 3])
    assert [(out.name, list(out.dims)) for out in config.output] == [
        (detect.OUTPUTS[0], [Rule().most, 6]),
        (detect.OUTPUTS[1], [1]),
    ]
    (group,) = config.instance_group
    assert group.count == 3 and list(group.profile) == [str(number) for number in range(len(shapes))]
    exact = {each.tuned[1:] for each in shapes if each.exact}
    warmed = {(sample.batch_size, tuple(sample.inputs[detect.INPUT].dims)) for sample in config.model_warmup}
    assert warmed == {(batch, shape) for batch in {1, most} for shape in exact}
    recorded = {tuple(spec.input[detect.INPUT].dim) for spec in config.optimization.cuda.graph_spec}
    assert config.optimization.cuda.graphs is recordable
    assert recorded == (exact if recordable else set())
    assert {spec.batch_size for spec in config.optimization.cuda.graph_spec} <= set(range(1, most + 1))


def test_the_entry_holds_the_plan(tmp_path: Path, bundle: Bundle) -> None:
    """The entry is the plan and its configuration; made again it holds the new plan, and nothing is left over."""
    repository = tmp_path / "repository"
    for version in ("11.2", "11.3"):
        plan = make(tmp_path, bundle, Compiler(version=version))
        entry = repository_entry.render_plan(plan, "demonstration@1", repository)
    assert (entry / "1" / "model.plan").read_bytes() == plan.path.read_bytes()
    assert sorted(str(path.relative_to(repository)) for path in repository.rglob("*")) == [
        "demonstration@1", "demonstration@1/1", "demonstration@1/1/model.plan", "demonstration@1/config.pbtxt",
    ]  # fmt: skip


def test_without_a_driver_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NVIDIA's driver is not installed, or gives no GPU, the error says where to go."""

    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(NoGpu, match="run this where the GPU is"):
        find_gpu()
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(cuInit=lambda _: 100))
    with pytest.raises(NoGpu, match="cuInit: error 100"):
        find_gpu()


def test_without_tensorrt_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without TensorRT's Python API, or with an old one, is told what to install."""
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: GPU)
    for name in ("tensorrt", "tensorrt_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlanError, match=r"triton\.Dockerfile"):
        tensorrt.here()
    old = ModuleType("tensorrt")
    old.__version__ = "8.6.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(PlanError, match="too old"):
        tensorrt.here()


def test_nothing_but_the_build_needs_tensorrt() -> None:
    """The module can be imported where TensorRT is not, and does not load it."""
    code = "import sys, trapstream.cli.model_build; sys.exit('tensorrt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=patient(30)).returncode == 0
