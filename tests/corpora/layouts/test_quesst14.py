"""Each kind of damage to a sound little corpus gives its one line."""

import pytest

from fithubert_upstream.corpora.layouts.quesst14 import (
    DOCUMENTS,
    QUERIES,
    check_quesst14,
    list_of,
    read_list,
    read_truth,
    truth_folder,
)
from fithubert_upstream.errors import FitHubertError

from ...helpers import small_corpora
from ...helpers.audio import cut, noise
from ...helpers.problems import only_problem


@pytest.fixture
def root(tmp_path):
    return small_corpora.quesst14(tmp_path / "quesst14")


def problem(root):
    return only_problem(check_quesst14(root, progress=False))


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_counts(root):
    report = check_quesst14(root, progress=False)
    assert report.problems == [] and report.corpus == f"quesst14 {root}"
    names = ("documents", "dev queries", "test queries", "dev queries that are said", "test queries that are said")
    assert [report.counts[name] for name in names] == [6, 3, 3, 2, 2]
    assert report.counts["documents hours"] == pytest.approx(6 * 0.925 / 3600, rel=1e-3)


def test_what_is_read(root):
    assert [file.relative_to(root).as_posix() for file in read_list(root, QUERIES["test"])] == [
        f"eval_queries/eval_{k}.wav" for k in range(3)
    ]
    truth = read_truth(root, "dev")
    assert truth.documents == {f"doc_{k}" for k in range(8)}
    assert truth.targets == {"dev_0": {"doc_0", "doc_3"}, "dev_1": {"doc_1"}, "dev_2": set(), "dev_3": {"doc_7"}}


def test_forms_that_the_files_may_have(root):
    """Marks of a byte order, Windows' ends of lines, empty lines, suffixes and folders or none."""
    path = list_of(root, DOCUMENTS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    folder = truth_folder(root, "dev")
    edit(folder / "quesst14.ecf.xml", "Audio/doc_0.wav", "doc_0")
    edit(folder / "quesst14_dev.rttm", "doc_0 ", "doc_0.wav ")
    (folder / "._quesst14_dev.rttm").write_bytes(b"\0")
    assert check_quesst14(root, progress=False).problems == []


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("language_key_dev.lst", "dev_1.wav nnenglish", "dev_1.wav", "line 2: expected `folder/path language`, found"),
        ("language_key_eval.lst", "eval_1", "gone", "language_key_eval.lst: expected {root}/eval_queries/gone.wav, f"),
        ("language_key_utterances.lst", "Audio/doc_1", "Audio/doc_0", "expected doc_0 once, found it 2 times; remove"),
        ("groundtruth_quesst14_dev/quesst14_dev.rttm", "3 1 0.00 0.10 dev_0 lex", "3", "line 2: expected `LEXEME doc"),
        ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "dev_2", "dev_9", "*.tlist.xml: expected dev_2, which la"),
        ("groundtruth_quesst14_eval/quesst14.ecf.xml", "doc_5", "doc_9", "*.ecf.xml: expected doc_5, which language_"),
        ("groundtruth_quesst14_eval/quesst14.ecf.xml", "audio_filename", "name", "found one without it"),
        ("groundtruth_quesst14_eval/quesst14.ecf.xml", "</ecf>", "", "expected XML with <excerpt audio_filename=...>"),
    ],
)
def test_wrong_files(root, name, old, new, expected):
    edit(root / "scoring" / name, old, new)
    report = check_quesst14(root, progress=False)
    lines = [line for line in report.problems if expected.format(root=root) in line]
    assert len(lines) == 1 and str(root) in lines[0] and "\n" not in lines[0]
    assert len(report.problems) <= 2  # a name that is another's is lacking elsewhere too


def test_files_that_are_not_there(root):
    list_of(root, QUERIES["dev"]).write_text("quesst14Database/dev_queries/dev_0.wav czech\n")
    assert problem(root).endswith("language_key_dev.lst: expected recordings of nnenglish, found none")
    list_of(root, QUERIES["dev"]).write_bytes(b"caf\xe9")
    assert "expected lines `folder/path language`, found: 'utf-8' codec" in problem(root)
    list_of(root, QUERIES["dev"]).unlink()
    assert problem(root).endswith("found: No such file or directory")
    assert "no such folder; expected scoring/*.lst" in problem(root / "no")


def test_a_split_without_its_truth(root):
    folder = truth_folder(root, "test")
    (folder / "more.rttm").touch()
    assert problem(root) == f"{folder}: expected one file *.rttm, found more.rttm, quesst14_eval.rttm"
    (folder / "more.rttm").unlink()
    (folder / "quesst14.ecf.xml").unlink()
    assert problem(root) == f"{folder}: expected one file *.ecf.xml, found none"


def test_queries_that_are_said_nowhere(root):
    """Some are no problem: QUESST's own tool leaves them out. Without any there is no result."""
    path = truth_folder(root, "dev") / "quesst14_dev.rttm"
    edit(path, "dev_1", "dev_0")
    report = check_quesst14(root, progress=False)
    assert report.problems == [] and report.counts["dev queries that are said"] == 1
    path.write_text("LEXEME doc_7 1 0 1 dev_3 lex\n")  # a query and a document of another language
    assert problem(root).endswith("expected documents with queries of language_key_dev.lst, found none with any")
    path.write_text("LEXEME doc_99 1 0 1 dev_0 lex\n")
    assert "expected documents of quesst14.ecf.xml that hold queries of quesst14_dev.tlist.xml" in problem(root)
    with pytest.raises(FitHubertError, match="found none"):
        read_truth(root, "dev")


def test_audio(root):
    path = root / "eval_queries" / "eval_2.wav"
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in problem(root)
    noise(path, rate=8000, channels=2)  # s3prl mixes and resamples
    assert check_quesst14(root, progress=False).problems == []
