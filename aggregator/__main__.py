"""`python -m aggregator`: the aggregator as a process."""

import sys

from aggregator.service import service
from trapstream.core.service import run
from trapstream.core.settings import AggregatorSettings

if __name__ == "__main__":
    settings = AggregatorSettings()  # type: ignore[call-arg]  # from the environment
    sys.exit(run("aggregator", settings, service(settings)))
