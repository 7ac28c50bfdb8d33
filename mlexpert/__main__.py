"""`python -m mlexpert` is `mlexpert`."""

import sys

from mlexpert.cli import main

if __name__ == "__main__":
    sys.exit(main())
