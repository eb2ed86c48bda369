"""python -m consumer: settings from the environment, then the service."""

import sys

from consumer.service import run
from trapstream.core import service
from trapstream.core.settings import ConsumerSettings


def main() -> int:
    """Runs a consumer until it is told to stop. Returns its exit status."""
    settings = ConsumerSettings()  # type: ignore[call-arg]  # read from the environment
    return service.run("consumer", settings, lambda stop, health: run(settings, stop, health))


if __name__ == "__main__":
    sys.exit(main())
