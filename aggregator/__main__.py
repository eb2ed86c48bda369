"""`python -m aggregator`: the aggregator, set by the environment."""

import sys

from aggregator.service import main
from trapstream.core import service
from trapstream.core.settings import AggregatorSettings

if __name__ == "__main__":
    sys.exit(service.run("aggregator", AggregatorSettings, main))
