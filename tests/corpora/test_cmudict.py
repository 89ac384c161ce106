"""The dictionary inside the package: the words and phones of the published file, in its order."""

import gzip
import hashlib

from fithubert_upstream.corpora.cmudict import _FILE, entries


def test_the_published_file():
    with _FILE.open("rb") as file:
        assert file.read(8)[3:] == bytes(5)  # neither a name nor a time in the header: the same bytes at each build
    text = gzip.decompress(_FILE.read_bytes())
    assert hashlib.sha256(text).hexdigest() == "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"


def test_all_entries_in_their_order():
    digest = hashlib.sha256("\n".join(f"{word} {' '.join(phones)}" for word, phones in entries()).encode())
    assert len(entries()) == 135_166 and len({word for word, _ in entries()}) == 126_052
    assert digest.hexdigest() == "1414f58cabfacb1615b3d1c09e46b31716f3c05fbe5ac84378618ee89f11f35e"
    assert entries()[0] == ("'bout", ("B", "AW1", "T")) and entries()[-1][0] == "zywicki"


def test_comments_and_numbers_are_no_part_of_an_entry():
    aalborg = [phones for word, phones in entries() if word == "aalborg"]
    assert aalborg == [("AO1", "L", "B", "AO0", "R", "G"), ("AA1", "L", "B", "AO0", "R", "G")]
    assert all(phones and "(" not in word for word, phones in entries())


def test_its_licence_is_beside_it():
    text = (_FILE.parent / "cmudict.LICENSE").read_text()
    assert "Carnegie Mellon University" in text and "Redistribution and use" in text
    assert "cmudict" in (_FILE.parent / "README.md").read_text()
