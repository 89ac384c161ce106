"""The phone set of SUPERB's phone recognition, and lexicons from words to phones."""

from functools import lru_cache
from pathlib import Path

from ...corpora import cmudict
from ...errors import FitHubertError

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()

# Silence, spoken noise, then ARPAbet alphabetically, each vowel with its stresses 0, 1, 2: 71
# entries. The line number in configs/phoneme.txt is a phone's token; never reorder them.
PHONES: tuple[str, ...] = (
    "SIL",
    "SPN",
    *sorted([f"{vowel}{stress}" for vowel in _VOWELS for stress in "012"] + _CONSONANTS),
)


def load_lexicon(sources: list[str]) -> dict[str, list[str]]:
    """Read pronunciations: upper-case word -> phones.

    A source is the path of a file in LibriSpeech's form (`WORD PH PH ...` a line), or `cmudict` for
    the dictionary inside this package. A word's first pronunciation wins, and an earlier source wins over
    a later one.

    Raises
    ------
    FitHubertError
        A file is missing, or holds a word without phones or a phone outside PHONES.
    """
    lexicon: dict[str, list[str]] = {}
    for source in reversed(sources):
        lexicon.update(read_lexicon(str(source)))
    return lexicon


@lru_cache(maxsize=4)
def read_lexicon(source: str) -> dict[str, list[str]]:
    """Word -> phones of one source of `load_lexicon`."""
    if source == "cmudict":
        entries = ((word, list(phones)) for word, phones in cmudict.entries())
    elif Path(source).is_file():
        lines = (line.split() for line in Path(source).read_text(encoding="utf-8").splitlines())
        entries = ((fields[0], fields[1:]) for fields in lines if fields)
    else:
        raise FitHubertError(
            f"lexicon '{source}': expected a file of lines `WORD PH PH ...` or the word cmudict, found no "
            "such file; correct config.downstream_expert.corpus.lexicon"
        )
    known = set(PHONES)
    lexicon: dict[str, list[str]] = {}
    for word, phones in entries:
        if not phones or not known.issuperset(phones):
            found = next((phone for phone in phones if phone not in known), "no phone")
            raise FitHubertError(
                f"lexicon '{source}', word {word}: expected ARPAbet phones with stress (such as "
                f"AA1 or T), found {found}; correct that line"
            )
        lexicon.setdefault(word.upper(), phones)
    return lexicon
