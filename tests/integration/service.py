"""A service as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.waiting import eventually, patient


class Service:
    """`python -m NAME`, started, stopped and killed as often as a test likes. Its log is one file."""

    def __init__(self, name: str, home: Path, servers: str, member: str, settings: Mapping[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._log = home / f"{member}.log"
        self._environment = {
            **os.environ,
            "TRAPSTREAM_HOME": str(home),
            "TRAPSTREAM_KAFKA": servers,
            "TRAPSTREAM_MEMBER": member,
            "TRAPSTREAM_LOG_FORMAT": "json",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything that it said."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Starts it, or starts it again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._name], env=self._environment, stdout=log, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(patient(seconds))

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)
        self.wait()

    async def says(self, text: str, times: int = 1) -> None:
        """Waits until its log has the text so often."""

        async def there() -> bool:
            return self.log.count(text) >= times

        await eventually(f"{text!r} in the log", there)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None


@contextlib.contextmanager
def service(
    name: str, home: Path, servers: str, member: str = "test", start: bool = True, **settings: str
) -> Iterator[Service]:
    """A service that runs, gone afterwards; `start` off leaves its start to the test.

    `settings` are TRAPSTREAM_<NAME> without the prefix, in any case.
    """
    process = Service(
        name, home, servers, member, {f"TRAPSTREAM_{key.upper()}": value for key, value in settings.items()}
    )
    if start:
        process.start()
    try:
        yield process
    finally:
        if process.runs:
            process.send(signal.SIGCONT)
            process.kill()
