"""`python -m notifier`: the notifier, set by the environment."""

import sys

from notifier.service import main
from trapstream.core import service
from trapstream.core.settings import NotifierSettings

if __name__ == "__main__":
    sys.exit(service.run("notifier", NotifierSettings, main))
