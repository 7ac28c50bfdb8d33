"""`python -m mlexpert` is `mlexpert`."""

from mlexpert.cli import main

if __name__ == "__main__":
    main()
