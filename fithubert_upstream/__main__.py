"""`python -m fithubert_upstream ...` is `fithubert ...`."""

import sys

from .cli import main

sys.exit(main())
