"""`python -m producer`: the producer, set by the environment."""

import sys

from producer.service import main
from trapstream.core import service
from trapstream.core.settings import ProducerSettings


def run() -> int:
    """Runs the producer to its end; returns the exit status."""
    settings = ProducerSettings()  # type: ignore[call-arg]  # the environment gives them
    return service.run("producer", settings, lambda stop, health: main(settings, stop, health))


if __name__ == "__main__":
    sys.exit(run())
