"""`python -m producer`: the producer, set by the environment."""

import sys

from producer.service import main
from trapstream.core import service
from trapstream.core.settings import ProducerSettings

if __name__ == "__main__":
    sys.exit(service.run("producer", ProducerSettings, main))
