"""The licences of what an install brings, as a Markdown table; exits with 1 when one of them is the GPL.

    python benchmarks/licences.py            # of the base install
    python benchmarks/licences.py distill    # with extras

It reads the metadata of the environment that it runs in, so install there first what is asked for.
"""

import re
import sys
from importlib import metadata

from packaging.requirements import Requirement

# "GPL", "AGPL-3.0", "GNU General Public License"; neither the LGPL nor the GPL with GCC's exception for its libraries
_GPL = re.compile(r"\bA?GPL(?![^()]*WITH GCC-exception)|(?<!Lesser )General Public Licen[cs]e", re.IGNORECASE)


def brought(requirements: list[str], extras: set[str] = frozenset()) -> dict[str, metadata.Distribution]:
    """Name -> distribution of all that the requirements bring, and what those bring, sorted by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(Requirement(text), extras) for text in requirements]
    seen = set()
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found[name] = metadata.distribution(name)
        waiting += [(Requirement(text), requirement.extras) for text in found[name].requires or ()]
    return dict(sorted(found.items()))


def licence(distribution: metadata.Distribution) -> str:
    """As the metadata has it: the expression, else the classifiers, else the first line of the licence."""
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        return expression
    classifiers = [text.split(" :: ")[-1] for text in about.get_all("Classifier", ()) if text.startswith("License ::")]
    return ", ".join(classifiers) or (about.get("License") or "not said").strip().splitlines()[0]


def is_gpl(text: str) -> bool:
    return _GPL.search(text) is not None


def main(extras: list[str]) -> int:
    requirements = metadata.requires("fithubert-upstream")
    table = {name: (found.version, licence(found)) for name, found in brought(requirements, set(extras)).items()}
    print("| package | version | licence |\n|---|---|---|")
    for name, (version, text) in table.items():
        print(f"| {name} | {version} | {text} |")
    return int(any(is_gpl(text) for _, text in table.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
