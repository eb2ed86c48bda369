"""`python -m notifier`: the notifier, set by the environment."""

import sys

from notifier.service import main
from trapstream.core import service
from trapstream.core.settings import NotifierSettings


def run() -> int:
    """Runs the notifier to its end; returns the exit status."""
    settings = NotifierSettings()  # type: ignore[call-arg]  # the environment gives them
    return service.run("notifier", settings, lambda stop, health: main(settings, stop, health))


if __name__ == "__main__":
    sys.exit(run())
