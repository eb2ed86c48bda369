"""python -m trapstream.cli: the command."""

import sys

from trapstream.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
