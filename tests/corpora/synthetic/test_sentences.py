from itertools import product

import numpy as np
import pytest

from fithubert_upstream.corpora.synthetic.sentences import phones, random_sentence, vocabulary
from fithubert_upstream.errors import FitHubertError

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
STRESSED_ARPABET = {vowel + stress for vowel, stress in product(VOWELS, "012")} | set(CONSONANTS)


def test_every_word_has_phones_and_every_phone_has_words():
    spoken = [phone for word in vocabulary() for phone in phones(word)]
    assert set(spoken) <= STRESSED_ARPABET
    plain = [phone.rstrip("012") for phone in spoken]
    assert all(plain.count(phone) >= 10 for phone in VOWELS + CONSONANTS)
    with pytest.raises(FitHubertError, match="xyzzyx"):
        phones("hello xyzzyx")


def test_sentences_are_many():
    generator = np.random.default_rng(0)
    assert len({random_sentence(generator) for _ in range(500)}) > 490
