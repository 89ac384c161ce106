"""QbE through s3prl's runner on a tiny corpus: its scores, their MTWV, and what is refused."""

import math
import shutil
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream import cli
from fithubert_upstream.corpora.layouts.quesst14 import read_truth
from fithubert_upstream.downstream.query_by_example import checks
from fithubert_upstream.downstream.query_by_example.mtwv import mtwv, read_scores
from fithubert_upstream.downstream.repairs import quesst14 as repairs
from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import MissingPackage
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config, read_yaml

from ...helpers.four_tasks import DATA, told

DTW = "config.downstream_expert.dtwrc"


def evaluate(expdir: str, *overrides: str, split: str = "dev", upstream: tuple[str, ...] = ("fbank",)) -> list[str]:
    flags = ["-m", "evaluate", "-d", "quesst14_dtw", "-c", "mini/qbe.yaml", "-t", split, "-u", *upstream]
    return [*flags, "-p", expdir, "-o", ",,".join([f"{DATA}.num_workers=0", *overrides])]


def scores_in(expdir: str) -> dict[str, dict[str, float]]:
    return read_scores(Path(expdir, "benchmark.stdlist.xml"))


@pytest.mark.parametrize(("split", "part"), [("dev", "dev"), ("test", "eval")])
def test_what_is_logged_is_the_value_of_what_s3prl_wrote(ready, split, part, capsys):
    logged = main(evaluate("exp", split=split))
    assert list(logged) == [f"quesst14_dtw/{split}-mtwv"]
    scores = scores_in("exp")
    assert list(scores) == [f"{part}_{k}" for k in range(3)] and list(scores[f"{part}_0"]) == [
        f"doc_{k}" for k in range(6)
    ]
    for row in scores.values():  # normalised for each query, four digits
        values = np.array(list(row.values()))
        assert values.mean() == pytest.approx(0, abs=1e-4) and values.std() == pytest.approx(1, abs=1e-4)
    assert logged[f"quesst14_dtw/{split}-mtwv"] == mtwv(scores, read_truth(ready["QUESST14"], split)).value
    assert f"{split} mtwv: " in capsys.readouterr().out


def test_a_query_is_found_in_its_own_recording(ready, tmp_path, monkeypatch):
    """The documents of the first two queries hold them, at 8 kHz and with two channels."""
    root = shutil.copytree(ready["QUESST14"], tmp_path / "copy")
    monkeypatch.setenv("QUESST14", str(root))
    for query, document in ((0, 0), (0, 3), (1, 1)):
        spoken = soundfile.read(root / f"dev_queries/dev_{query}.wav")[0]
        around = np.random.default_rng(document).normal(0, 0.05, (2, 4000))
        audio = np.concatenate([around[0], spoken, around[1]])
        soundfile.write(root / f"Audio/doc_{document}.wav", np.stack([audio[::2]] * 2, axis=1), 8000)
        soundfile.write(root / f"dev_queries/dev_{query}.wav", spoken, 16000)
    main(evaluate("exp"))
    scores = scores_in("exp")
    assert max(scores["dev_1"], key=scores["dev_1"].get) == "doc_1"
    assert set(sorted(scores["dev_0"], key=scores["dev_0"].get)[-2:]) == {"doc_0", "doc_3"}


def test_the_layer_counts_and_the_cache_does_not(ready):
    student = ("fithubert", "-k", str(ready["student"]))
    rows = [main([*evaluate(f"l{k}", upstream=student), "-l", str(k)]) and scores_in(f"l{k}") for k in range(2)]
    assert rows[0] != rows[1]
    main([*evaluate("cached", upstream=student), "-l", "1", "--feature-cache", "cache"])
    assert scores_in("cached") == rows[1]


@pytest.mark.slow
def test_the_number_of_processes_does_not_count(ready):
    main(evaluate("one"))
    main(evaluate("two", "config.downstream_expert.max_workers=2"))
    files = [Path(folder, "benchmark.stdlist.xml").read_bytes() for folder in ("one", "two")]
    assert files[0] == files[1]


def test_the_order_of_results_is_that_of_the_calls():
    with repairs.matchers(1) as pool:
        futures = [pool.submit(divmod, 7, k) for k in (2, 3)]
    assert isinstance(pool, repairs.Inline)
    assert [future.result() for future in repairs.in_order(futures)] == [(3, 1), (2, 1)]
    assert repairs.matchers(100)._max_workers == repairs.MOST_PROCESSES


def test_recordings_are_those_of_s3prl(ready):
    from s3prl.downstream.quesst14_dtw.dataset import QUESST14Dataset

    for split in ("dev", "eval"):
        ours, theirs = (
            kind(split, dataset_root=str(ready["QUESST14"])) for kind in (repairs.Recordings, QUESST14Dataset)
        )
        assert (ours.data, ours.n_queries, ours.n_docs) == (theirs.data, 3, 6) and len(theirs) == 9
        for k in (0, 8):
            assert np.array_equal(ours[k][0], theirs[k][0]) and ours[k][1] == theirs[k][1]


def test_the_expert_is_left_as_it_was():
    from s3prl.downstream.quesst14_dtw import expert

    names = ("QUESST14Dataset", "ProcessPoolExecutor", "as_completed")
    before = [getattr(expert, name) for name in names], expert.DownstreamExpert.log_records
    with repairs.query_by_example():
        assert expert.QUESST14Dataset is repairs.Recordings
    assert before == ([getattr(expert, name) for name in names], expert.DownstreamExpert.log_records)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenProcessPool("terminated abruptly"), "has died .*max_workers=1$"),
        (ValueError("All-NaN slice encountered"), "expected distances that are numbers, found NaN"),
        (ValueError("another"), "^another$"),
    ],
)
def test_errors_of_s3prls_expert(error, words):
    class Expert:
        def log_records(self, mode, records, **kwargs):
            raise error

    with repairs.scored(Expert), pytest.raises(ValueError, match=words):
        Expert().log_records("dev", records={"features": [], "audio_names": []}, logger=None)


# what is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "train"], "-m train: -d quesst14_dtw trains nothing; give -m evaluate, -t dev or -t test"),
        (["-m", "evaluate", "-e", "exp"], "-e: expected none, since -d quesst14_dtw has no checkpoints; leave it out"),
        (["-m", "evaluate", "-i", "x.ckpt"], "-i: expected none, since -d quesst14_dtw has no checkpoints"),
        (["-m", "evaluate", "-a"], "-a: expected none, since -d quesst14_dtw has no checkpoints"),
        (["-m", "evaluate", "-t", "eval"], "split eval: not in the config; available: dev, test"),
        (["-m", "inference", "-t", "x.wav"], "-m inference: s3prl supports it for -d asr only, not -d quesst14_dtw"),
        (["-m", "evaluate", "-l", "0", "-s", "last_hidden_state"], "-l: expected a feature of several layers"),
        (["-m", "evaluate", "-o", "config.runner.evaluate_ratio=0.5"], "unknown key 'evaluate_ratio'"),
        (["-m", "evaluate", "-o", f"{DTW}.step_pattern=symmetric2"], "expected asymmetric with dtwrc.subsequence True"),
        (
            ["-m", "evaluate", "-o", f"{DTW}.step_pattern=odd,,{DTW}.subsequence=False"],
            "expected a pattern of dtw-python, found odd; it has symmetric1,",
        ),
        (["-m", "evaluate", "-o", f"{DTW}.dist_method=far"], "dist_method: expected cosine_exp, cosine_neg_log or a"),
        (["-m", "evaluate", "-o", f"{DTW}.dist_method=cosine_neg_log"], "feature_normalization: expected False with"),
    ],
)
def test_what_makes_no_sense(ready, flags, words, capsys):
    assert words in told(capsys, *flags, "-d", "quesst14_dtw", "-c", "mini/qbe.yaml", "-u", "fbank", "-p", "exp")
    assert not list(Path().rglob("benchmark.stdlist.xml"))


def test_other_alignments(ready):
    plain = f"{DTW}.step_pattern=symmetric2,,{DTW}.subsequence=False,,{DTW}.dist_method=euclidean"
    assert math.isfinite(main(evaluate("exp", plain))["quesst14_dtw/dev-mtwv"])


def test_features_that_are_no_numbers_are_no_result(ready, capsys, monkeypatch):
    from s3prl.downstream.quesst14_dtw.expert import DownstreamExpert

    def forward(self, mode, features, names, records, **kwargs):
        records["features"] += [
            feature.log() - torch.inf if name == "doc_2" else feature
            for feature, name in zip(features, names, strict=True)
        ]
        records["audio_names"] += names

    monkeypatch.setattr(DownstreamExpert, "forward", forward)
    line = told(capsys, *evaluate("exp"))
    assert line.endswith("doc_2: expected finite features, found NaN or infinity; use another layer or upstream")


def test_a_corpus_that_is_not_whole(ready, damaged, capsys):
    root = damaged("qbe")
    (root / "Audio" / "doc_4.wav").unlink()
    assert f"expected {root}/Audio/doc_4.wav, found no such file" in told(capsys, *evaluate("exp"))


def test_without_the_extra(ready, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dtw", None)
    with pytest.raises(MissingPackage, match="query by example needs dtw; pip install 'fithubert-upstream.superb.'"):
        checks.import_dtw()
    assert "query by example needs dtw" in told(capsys, *evaluate("exp"))
    assert cli.main(["superb", "-u", "fbank", "--tasks", "qbe", "-o", "out"]) == 2
    assert "QBE on fbank" not in capsys.readouterr().err


def test_s3prls_own_config_is_read(ready, tmp_path):
    """Its `two_stages` is read by nothing; False, which it has, changes nothing."""
    config = (
        find_config("qbe.yaml", DOWNSTREAM_CONFIGS)
        .read_text()
        .replace("  max_workers:\n", "  two_stages: False\n  max_workers: 1\n")
    )
    Path("own.yaml").write_text(config)
    flags = evaluate("exp")
    flags[flags.index("-c") + 1] = "own.yaml"
    main(flags)


def test_superbs_settings():
    full, mini = (read_yaml(find_config(f"{size}qbe.yaml", DOWNSTREAM_CONFIGS)) for size in ("", "mini/"))
    expert = full["downstream_expert"]
    assert full["runner"] == {} and expert["max_workers"] is None and expert["silence_frame"] is None
    assert expert["feature_normalization"] is True
    assert expert["datarc"] == {"dataset_root": "${QUESST14}", "num_workers": 8, "batch_size": 1}
    assert expert["dtwrc"] == {
        "dist_method": "cosine_exp",
        "minmax_norm": True,
        "step_pattern": "asymmetric",
        "subsequence": True,
    }
    assert mini["downstream_expert"]["dtwrc"] == expert["dtwrc"]
