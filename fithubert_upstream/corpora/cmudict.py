"""The CMU Pronouncing Dictionary, as it lies in assets/ with its licence (BSD)."""

import gzip
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent.parent / "assets" / "cmudict.dict.gz"


@cache
def entries() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(word, phones) in the file's order, lower case and ARPAbet; a word once for each pronunciation."""
    found = []
    with gzip.open(_FILE, "rt", encoding="utf-8") as file:
        for line in file:  # `a(2) EY1`, and `# comment` behind some
            word, *phones = line.partition("#")[0].split()
            found.append((re.sub(r"\(\d+\)$", "", word), tuple(phones)))
    return tuple(found)
