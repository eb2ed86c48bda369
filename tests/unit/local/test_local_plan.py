"""What the stack's parts are told: properties, flags, model configuration, ports, names. Nothing is started."""

import os
import random
import socket
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from model_repository.templates.cpu import model as served
from tests import graphs, stacks
from trapstream.core import json_codec
from trapstream.core.settings import AggregatorSettings, ConsumerSettings, NotifierSettings, ProducerSettings
from trapstream.local import broker, plan, ports, processes, state, triton
from trapstream.local.home import shm_prefix
from trapstream.local.state import StackError
from trapstream.models import repository_entry

PORTS = {name: 20_000 + number for number, name in enumerate(plan.port_names(state.SERVICES))}


def test_the_broker_listens_on_loopback_only_and_creates_no_topic_by_itself() -> None:
    lines = dict(line.split("=", 1) for line in broker.properties(PORTS).splitlines())
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:20000,CONTROLLER://127.0.0.1:20001"
    assert lines["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20000"
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["broker.session.timeout.ms"] == "1500"
    assert lines["log.dirs"] == "kafka/data", "relative: Kafka would split a home's name at commas"


def test_the_server_listens_on_loopback_only() -> None:
    """Addresses are loopback's, and no flag has an absolute path."""
    flags = triton.arguments(PORTS, "trapstream-abc-")
    assert "--backend-config=python,shm-region-prefix-name=trapstream-abc-backend-" in flags
    assert not [flag for flag in flags if "=/" in flag], "Triton puts paths into a shell's command line unescaped"
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(flags)


def test_an_entry_says_what_a_completed_graph_takes_and_gives(tmp_path: Path) -> None:
    bundle = stacks.write_bundle(tmp_path / "bundle")
    serving = repository_entry.CpuServing(instances=3, threads=2)
    folder = repository_entry.render_cpu(bundle / "model.onnx", "tiny@2b", tmp_path / "repository", serving)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("tiny@2b", "python", 8)
    assert [(each.name, list(each.dims)) for each in config.input] == [("images", [-1, -1, 3]), ("places", [1])]
    assert all(each.optional for each in config.input)
    assert [(each.name, list(each.dims)) for each in config.output] == [("detections", [300, 6]), ("count", [1])]
    assert config.output[1].HasField("reshape")
    assert config.instance_group[0].count == 3
    assert config.parameters["threads"].string_value == "2"
    assert (folder / "1" / "model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    assert (folder / "1" / "model.py").exists()


@pytest.mark.parametrize("name", ["", "..", "../tiny@1", "tiny@1/2", "-rf@1", "$(id)@1", "a b@1", "x" * 300])
def test_an_entry_stays_in_its_repository_and_out_of_the_shell(tmp_path: Path, name: str) -> None:
    """A name that would need escaping, or would lead elsewhere, is refused, and nothing is written."""
    graph = stacks.write_bundle(tmp_path / "bundle") / "model.onnx"
    with pytest.raises(ValueError, match="no name for a model"):
        repository_entry.render_cpu(graph, name, tmp_path / "repository", repository_entry.CpuServing())
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("shape", [(1, 64, 96, 3), (8, 64, 96, 3), (5, 96, 64, 3)])
def test_the_answer_for_an_image_has_the_same_bits_alone_and_in_company(tmp_path: Path, shape: tuple[int, ...]) -> None:
    graph = stacks.write_bundle(tmp_path) / "model.onnx"
    session = served.open_session(graph, threads=1)
    images = np.random.default_rng(3).integers(0, 255, shape, dtype=np.uint8)
    together = served.detect(session, images)
    assert [array.shape[0] for array in together] == [shape[0], shape[0]]
    for place, image in enumerate(images):
        for whole, alone in zip(together, served.detect(session, image[None]), strict=True):
            np.testing.assert_array_equal(whole[place], alone[0])


@pytest.mark.parametrize(("limit", "error"), [(200, served.RefusedError), (graphs.NONE, Exception)])
def test_an_image_is_refused_where_a_blank_one_is_answered(tmp_path: Path, limit: float, error: type) -> None:
    """By the same process: where that fails on a blank image too, the image is not at fault."""
    graphs.save_picky(tmp_path / "picky.onnx", limit)
    session = served.open_session(tmp_path / "picky.onnx", 1)
    bright = np.full((2, 32, 32, 3), 255, np.uint8)
    with pytest.raises(error) as raised:
        served.detect(session, bright)
    assert isinstance(raised.value, served.RefusedError) == (limit == 200)


def test_onnx_runtime_itself_agrees(tmp_path: Path) -> None:
    graph = stacks.write_bundle(tmp_path) / "model.onnx"
    images = np.random.default_rng(4).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    expected = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"]).run(None, {"images": images})
    for ours, theirs in zip(served.detect(served.open_session(graph, 1), images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_ports_are_distinct_kept_and_replaced_where_taken() -> None:
    random.seed(1)
    first = ports.choose(("a", "b", "c"), {})
    assert len(set(first.values())) == 3
    assert ports.choose(("a", "b", "c"), first) == first
    with socket.create_server((ports.HOST, first["b"])):
        second = ports.choose(("a", "b", "c"), first)
    assert (second["a"], second["c"]) == (first["a"], first["c"])
    assert second["b"] not in first.values()


def test_every_home_has_a_shared_memory_prefix_of_its_own(tmp_path: Path) -> None:
    prefixes = {shm_prefix(tmp_path / name) for name in ("a", "b", "a-b")}
    assert len(prefixes) == 3
    assert not any(one != other and other.startswith(one) for one in prefixes for other in prefixes)
    assert all(len(prefix) < 30 for prefix in prefixes), "Triton adds a UUID, and 255 is the end"


def test_a_service_is_told_where_everything_is(tmp_path: Path) -> None:
    child = plan.service("consumer", tmp_path, PORTS)
    assert child.env["TRAPSTREAM_KAFKA"] == f"127.0.0.1:{PORTS['kafka']}"
    assert child.env["TRAPSTREAM_TRITON"] == f"127.0.0.1:{PORTS['triton-grpc']}"
    assert child.env["TRAPSTREAM_HTTP_PORT"] == str(PORTS["consumer"])
    assert child.env["TRAPSTREAM_SHM_PREFIX"].startswith(shm_prefix(tmp_path))
    assert child.argv[1:] == ("-m", "consumer")


def poison(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called as packages of ours are, in the folder that the test goes on in."""
    for name in ("trapstream", "consumer", "json"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('this is no part of Trapstream')\n")
    monkeypatch.chdir(folder)


def test_a_folder_called_as_a_package_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service runs from where its package is installed, whatever lies in the home or in the user's folder."""
    poison(tmp_path, monkeypatch)
    child = plan.service("consumer", tmp_path, PORTS)
    env = {**processes.environment(os.environ), **child.env, "TRAPSTREAM_BATCH": "none"}
    ran = subprocess.run(child.argv, env=env, cwd=child.cwd, capture_output=True, text=True, timeout=60, check=False)
    assert "ConsumerSettings" in ran.stdout + ran.stderr, "it came to its settings, and said what is wrong"
    assert "no part of Trapstream" not in ran.stdout + ran.stderr


def test_relative_paths_are_those_of_the_command_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting that is a path is made absolute before a process starts in another folder; others stay."""
    of_services = {
        f"TRAPSTREAM_{name.upper()}"
        for kind in (ProducerSettings, ConsumerSettings, AggregatorSettings, NotifierSettings)
        for name, field in kind.model_fields.items()
        if "Path" in str(field.annotation)
    }
    monkeypatch.chdir(tmp_path)
    given = {"TRAPSTREAM_BUNDLE": "a", "TRAPSTREAM_CACHE": "~", "TRAPSTREAM_KAFKA": "b:1", "PYTHONPATH": ":lib:/x"}
    given |= dict.fromkeys(of_services - {"TRAPSTREAM_ROOTS"}, "keys") | {"TRAPSTREAM_ROOTS": '["photos", "/data"]'}
    made = processes.environment(given)
    assert made["TRAPSTREAM_ROOTS"] == json_codec.encode([str(tmp_path / "photos"), "/data"]).decode()
    assert {made[name] for name in of_services - {"TRAPSTREAM_ROOTS"}} == {str(tmp_path / "keys")}
    assert (made["TRAPSTREAM_BUNDLE"], made["TRAPSTREAM_CACHE"]) == (str(tmp_path / "a"), str(Path.home()))
    assert made["TRAPSTREAM_KAFKA"] == "b:1"
    assert made["PYTHONPATH"].split(":")[1:] == [str(tmp_path / "lib"), "/x"]
    assert processes.environment({"TRAPSTREAM_ROOTS": "nonsense"})["TRAPSTREAM_ROOTS"] == "nonsense"


def test_consumers_share_the_cores_to_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder for each core that a consumer may have, never none, with slabs for all; what the user set stays."""
    for cores in range(1, 70):
        for consumers in range(1, 9):
            made = {key: int(value) for key, value in plan.decoding(cores, consumers).items()}
            assert 1 <= made["TRAPSTREAM_DECODERS"] <= max(1, min(4, cores // consumers))
            assert 2 * made["TRAPSTREAM_DECODERS"] <= made["TRAPSTREAM_SLABS"] <= 16
    assert "TRAPSTREAM_DECODERS" in plan.service("consumer", tmp_path, PORTS).env
    assert "TRAPSTREAM_DECODERS" not in plan.service("aggregator", tmp_path, PORTS).env
    monkeypatch.setenv("TRAPSTREAM_DECODERS", "3")
    assert "TRAPSTREAM_DECODERS" not in plan.service("consumer", tmp_path, PORTS).env


def test_copies_have_names_members_ports_and_shared_memory_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAPSTREAM_CONSUMERS", "11")
    names = plan.copies(state.SERVICES)
    assert names[:3] == ("producer", "consumer", "consumer-1")
    assert names[-3:] == ("consumer-10", "aggregator", "notifier")
    ports = {name: 21_000 + number for number, name in enumerate(plan.port_names(names))}
    children = [plan.service(name, tmp_path, ports) for name in names]
    assert len({child.env["TRAPSTREAM_MEMBER"] for child in children}) == len(children)
    assert len({child.ports for child in children}) == len(children)
    assert children[2].argv[-1] == "consumer"
    prefixes = [child.shm_prefix for child in children]
    assert not any(one != other and other.startswith(one) for one in prefixes for other in prefixes)
    regions = [f"{child.env['TRAPSTREAM_SHM_PREFIX']}-{child.env['TRAPSTREAM_MEMBER']}-" for child in children]
    assert regions == prefixes, "what is swept is what the consumer makes"


@pytest.mark.parametrize("wrong", ["0", "-1", "two"])
def test_a_number_of_copies_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("TRAPSTREAM_AGGREGATORS", wrong)
    with pytest.raises(StackError, match="TRAPSTREAM_AGGREGATORS"):
        plan.copies(("aggregator",))


def test_the_controllers_port_is_no_endpoint() -> None:
    assert set(plan.endpoints(PORTS)) == {
        "kafka", "triton-grpc", "triton-http", "triton-metrics", "api", "events",
        "producer", "consumer", "aggregator", "notifier",
    }  # fmt: skip
