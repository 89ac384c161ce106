"""`python -m fithubert_upstream ...` is `fithubert ...`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
