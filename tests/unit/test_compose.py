"""The compose file and what it builds from: what can be checked without an engine."""

import importlib.metadata
import json
import os
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.waiting import patient
from trapstream import __version__
from trapstream.cli import model_build
from trapstream.core.settings import (
    AggregatorSettings,
    ConsumerSettings,
    CoreSettings,
    NotifierSettings,
    ProducerSettings,
)
from trapstream.local import doctor

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))
SCRIPTS = [ROOT / ".ci/run", ROOT / "deploy/find-python", *sorted((ROOT / "deploy").rglob("*.sh"))]
SETTINGS: dict[str, type[CoreSettings]] = {
    "producer": ProducerSettings,
    "consumer": ConsumerSettings,
    "aggregator": AggregatorSettings,
    "notifier": NotifierSettings,
}
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL", "STOPSIGNAL",
    "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions with their arguments, comments gone and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\s*\n", " ", text).splitlines()
    return [(words[0], words[1].strip()) for line in lines if (words := line.strip().partition(" ")[::2])[0]]


def plain(value: str) -> str:
    """A value with its ${NAME:-default} replaced by the default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def is_pinned(image: str) -> bool:
    """Whether the image has a tag that says which one it is."""
    name, _, tag = image.rpartition(":")
    return bool(name) and "/" not in tag and tag != "latest" and any(sign.isdigit() for sign in tag)


def test_the_compose_file_follows_the_specification() -> None:
    """docker-compose.yml is valid by the Compose specification's own schema."""
    jsonschema.Draft202012Validator(get_builtin_schema("compose-spec")).validate(COMPOSE)


def test_the_schema_finds_mistakes() -> None:
    """The schema is the real one: it refuses an unknown key and a wrong type."""
    validator = jsonschema.Draft202012Validator(get_builtin_schema("compose-spec"))
    for wrong in ({"imgae": "x"}, {"image": 7}, {"image": "x", "depends_on": {"y": {"condition": "sometimes"}}}):
        assert not validator.is_valid({"services": {"trial": wrong}})


def test_every_service_that_is_needed_is_there() -> None:
    """Each depends_on names a service, which can meet its condition."""
    for service in SERVICES.values():
        for name, needed in service.get("depends_on", {}).items():
            condition = needed["condition"]
            assert condition in {"service_healthy", "service_completed_successfully"}
            if condition == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]
            else:
                assert SERVICES[name]["restart"] == "no"


def test_every_volume_is_declared_or_in_the_tree() -> None:
    """A mount is a declared volume, or a folder or file of this repository; demo/images alone is drawn later."""
    for service in SERVICES.values():
        for mount in map(plain, service.get("volumes", [])):
            source = mount.split(":")[0]
            if source.startswith("./") and source != "./demo/images":
                assert (ROOT / source).exists(), source
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"]


def test_no_volume_is_declared_for_nothing() -> None:
    """Every declared volume is mounted."""
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= mounted


def test_every_setting_exists() -> None:
    """Each TRAPSTREAM_ variable of a service is one of its settings, with a value that the settings take."""
    for name, kind in SETTINGS.items():
        given = {key: plain(value) for key, value in SERVICES[name]["environment"].items()}
        fields = {key.removeprefix("TRAPSTREAM_").lower(): value for key, value in given.items()}
        assert fields.keys() <= kind.model_fields.keys()
        values = {key: json.loads(value) if value.startswith("[") else value for key, value in fields.items()}
        settings = kind.model_validate({"home": "/var/lib/trapstream", **values})
        assert settings.kafka.split(":")[0] in SERVICES
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace > settings.drain_seconds


def test_a_setting_that_does_not_exist_is_found() -> None:
    """The settings refuse a value of a wrong type, so the check above means something."""
    with pytest.raises(pydantic.ValidationError):
        ConsumerSettings.model_validate({"home": "/x", "decode_device": "tpu"})


def test_services_find_each_other() -> None:
    """Addresses in settings name services, and Prometheus scrapes the port that the services serve."""
    assert SERVICES["consumer"]["environment"]["TRAPSTREAM_TRITON"] == "triton:8001"
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {
        target for job in scraped["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    }
    image = dict(instructions(ROOT / "deploy/docker/trapstream.Dockerfile"))["ENV"]
    port = dict(word.split("=", 1) for word in shlex.split(image))["TRAPSTREAM_HTTP_PORT"]
    assert targets == {f"{name}:{port}" for name in SETTINGS} | {"triton:8002"}


def test_consumer_and_triton_share_their_memory() -> None:
    """Both see one /dev/shm that outlives either, as one user: a region can be opened by its owner only."""
    triton, consumer = SERVICES["triton"], SERVICES["consumer"]
    assert triton["ipc"] == consumer["ipc"] == "host"
    assert triton["user"] == consumer["user"]
    assert any(str(word).startswith("--allow-client-shm=true") for word in triton["command"])


def test_whatever_uses_the_gpu_has_one() -> None:
    """plan, triton and consumer reserve an NVIDIA GPU."""
    for name in ("plan", "triton", "consumer"):
        (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert "gpu" in device["capabilities"]


def test_a_service_that_ends_is_started_again() -> None:
    """Everything but the one-shot plan and the command has a restart rule, and no image runs as root."""
    for name, service in SERVICES.items():
        once = name in {"plan", "trapstream"}
        assert service["restart"] == ("no" if once else "unless-stopped")
        if "build" in service:
            assert service["user"] not in {"root", "0", "0:0"}


def test_nothing_is_open_to_the_network() -> None:
    """Every published port is published on this machine only."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_is_in_the_file() -> None:
    """No variable that is called like a secret has a value here."""
    for service in SERVICES.values():
        assert not [key for key in service.get("environment", {}) if re.search("PASS|SECRET|TOKEN|_KEY", key)]


def test_images_are_pinned() -> None:
    """Every image, used or built from, has a tag that says which one it is; our own carry our version."""
    images = {service["image"] for service in SERVICES.values()}
    bases = {words.split()[0] for path in DOCKERFILES for name, words in instructions(path) if name == "FROM"}
    assert all(map(is_pinned, images | bases))
    ours = {service["image"] for service in SERVICES.values() if "build" in service}
    assert {image.partition(":")[2] for image in ours} == {__version__}
    assert not is_pinned("kafka") and not is_pinned("kafka:latest") and not is_pinned("host:5000/kafka")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_hold_known_instructions(path: Path) -> None:
    """Each line is an instruction, the first is FROM, the user at the end is not root, JSON forms are JSON."""
    steps = instructions(path)
    assert steps[0][0] == "FROM"
    assert {name for name, _ in steps} <= INSTRUCTIONS
    assert [words for name, words in steps if name == "USER"][-1].split(":")[0] not in {"root", "0"}
    for name, words in steps:
        if name in {"CMD", "ENTRYPOINT"}:
            json.loads(words)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there(path: Path) -> None:
    """Each COPY takes what is in the tree and what .dockerignore lets through, or what an earlier stage made."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    stages = {words.split(" AS ")[1] for name, words in instructions(path) if name == "FROM" and " AS " in words}
    for name, words in instructions(path):
        if name != "COPY":
            continue
        flags = [word for word in words.split() if word.startswith("--")]
        *sources, _ = [word for word in words.split() if not word.startswith("--")]
        stage = [flag.removeprefix("--from=") for flag in flags if flag.startswith("--from=")]
        if stage:
            assert stage[0] in stages
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(Path(source).is_relative_to(entry) for entry in allowed), source


def test_the_services_image_has_every_package() -> None:
    """The image of the services and the command has all that the wheel has, or a verb of the command is missing."""
    copied = [
        words.split() for name, words in instructions(ROOT / "deploy/docker/trapstream.Dockerfile") if name == "COPY"
    ]
    assert {words[-1] for words in copied} >= set(doctor.OURS)


def test_what_is_built_is_there() -> None:
    """Each build names a Dockerfile of the tree, and each Dockerfile is used."""
    named = {service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service}
    assert named == {str(path.relative_to(ROOT)) for path in DOCKERFILES}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(path: Path) -> None:
    """Each script can be run, is read by bash without complaint, and stops at the first error."""
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True, timeout=patient(10))
    assert "set -euo pipefail" in path.read_text()


def test_the_dashboard_shows_metrics_that_exist() -> None:
    """Each metric of the dashboard is one that the services serve."""
    text = (ROOT / "deploy/grafana/dashboards/trapstream.json").read_text()
    assert json.loads(text)["panels"]
    defined = set(re.findall(r'"(trapstream_\w+)"', (ROOT / "trapstream/core/metrics.py").read_text()))
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"trapstream_\w+", text)}
    assert used <= defined


def test_the_plan_is_built_by_the_command() -> None:
    """The one-shot service calls `trapstream model build` with options that it has; Triton serves what that makes."""
    command = [plain(word) for word in SERVICES["plan"]["command"]]
    assert command[:3] == ["python3", "-m", "trapstream.cli"]
    home, *verb = command[3:6]
    assert home == f"--home={SERVICES['plan']['volumes'][0].split(':')[1]}"
    assert verb == ["model", "build"]
    with model_build.build.make_context("build", command[6:]) as context:
        assert context.params["name"] == "demonstration"
        assert f"--model-repository={context.params['repository']}" in SERVICES["triton"]["command"]
        most: int = context.params["batch"]
    assert int(plain(SERVICES["consumer"]["environment"]["TRAPSTREAM_BATCH"])) <= most


def test_triton_s_image_has_what_the_build_needs() -> None:
    """The command to build a plan imports nothing but what its image installs, and what that brings along."""
    (install,) = (
        words for name, words in instructions(ROOT / "deploy/docker/triton.Dockerfile") if "constraints" in words
        and name == "RUN"
    )  # fmt: skip
    named = re.search(r"--constraint constraints\.txt ([a-z ]+)", install)
    assert named is not None
    there = brought_along(named[1].split()) | {"trapstream"}
    owners = importlib.metadata.packages_distributions()
    absent = [name for name, found in owners.items() if not there & {canonicalize_name(owner) for owner in found}]
    code = (
        "import sys, json; sys.modules.update(dict.fromkeys(json.load(sys.stdin))); "
        "from trapstream.cli.main import main; sys.exit(main(['model', 'build', '--help']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(absent),
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "aiokafka" in absent


def brought_along(names: list[str]) -> set[str]:
    """The packages of these names and all that they need."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    return found


def test_the_plan_s_template_names_what_the_consumer_asks_for() -> None:
    """Input and outputs are those that the consumer sends and reads."""
    from consumer import detect

    text = (ROOT / "model_repository/templates/tensorrt/config.pbtxt").read_text()
    assert set(re.findall(r'\{ name: "(\w+)"', text)) == {detect.INPUT, *detect.OUTPUTS}
    assert set(string.Template(text).get_identifiers()) == {
        "name", "max_batch_size", "dims", "most", "instances", "profiles", "warmup", "graphs",
    }  # fmt: skip
