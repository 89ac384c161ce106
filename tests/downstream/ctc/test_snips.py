"""Slot filling through s3prl's runner on a tiny corpus, end to end, and what its dataset gives."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.s3prl_settings import read_settings
from fithubert_upstream.corpora.layouts.snips import SLOTS, TABLE
from fithubert_upstream.downstream.checks import complete
from fithubert_upstream.downstream.ctc.snips import SnipsDataset, sentences
from fithubert_upstream.downstream.repairs.datasets import collect_utterances
from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, MODEL_CONFIGS, expand_variables, find_config

from ...helpers.audio import noise
from ...helpers.four_tasks import CORPUS, instead, refused, told, train

SF = TASKS["sf"]
EVALUATE = ["-m", "evaluate", "-e", "exp"]
SLOTS_KEY = "config.downstream_expert.text.slots_file"


@pytest.fixture
def tokenizer(ready):
    s3prl_compat.apply()
    from s3prl.downstream.ctc.text import load_text_encoder

    return load_text_encoder("character-slot", MODEL_CONFIGS[0] / "character.txt", ready["AUDIO_SNIPS"] / SLOTS)


def dataset(root, tokenizer, bucket_size=1, split=("train",), **speakers):
    sentences.cache_clear()
    return SnipsDataset(list(split), tokenizer, bucket_size, str(root), name="snips", train=["train"], **speakers)


# the dataset


def test_a_sentence_is_its_file_its_symbols_and_its_name(ready, tokenizer):
    data = dataset(ready["AUDIO_SNIPS"], tokenizer)
    assert [name for _, _, name in data.items] == [
        f"{who}0-snips-train-{i}" for i in (1, 0, 2) for who in ("Ann", "Bob")
    ]
    audio, tokens, name = data[0]
    assert audio == ready["AUDIO_SNIPS"] / "train" / f"{name}.wav"
    # characters begin at 3, after <pad>, <eos> and <unk>; slots after the characters, B and E of each
    letters = {c: i for i, c in enumerate(" ABCDEFGHIJKLMNOPQRSTUVWXYZ'", start=3)}
    artist, playlist = 3 + len(letters), 5 + len(letters)

    def spell(word):
        return [letters[letter] for letter in word]

    expected = [
        *spell("ADD "),
        artist,
        *spell("CAT"),
        artist + 1,
        *spell(" TO "),
        playlist,
        *spell("MAT"),
        playlist + 1,
    ]
    assert tokens == [*expected, 1]
    assert tokenizer.decode(tokens) == "ADD B-artist CAT E-artist TO B-playlist MAT E-playlist"


def test_buckets_are_neighbours_in_length(ready, tokenizer):
    data = dataset(ready["AUDIO_SNIPS"], tokenizer, 4)
    assert len(data) == 6 and [len(data[i]) for i in range(6)] == [4] * 6
    assert data[5] == data[2] == data.items[2:6]
    assert len(dataset(ready["AUDIO_SNIPS"], tokenizer, 100)[0]) == 6


def test_speakers_of_each_folder(ready, tokenizer):
    root = ready["AUDIO_SNIPS"]
    data = dataset(root, tokenizer, split=("train", "valid"), train_speakers=["Ann0"], test_speakers=["Bob2"])
    assert sorted({name.split("-")[0] for _, _, name in data.items}) == ["Ann0", "Ann1", "Bob1"]
    assert len(dataset(root, tokenizer, train_speakers=["Ann"])) == 0  # s3prl's own would take all that begin so


def test_what_is_missing_is_told(damaged, tokenizer):
    root = damaged("sf")
    table = (root / TABLE).read_text()
    (root / TABLE).write_text(table.replace("O O artist artist", "O O album album", 1))
    with pytest.raises(
        FitHubertError, match="Ann0-snips-train-0.wav: expected a slot of the slots file, found 'B-album'"
    ):
        dataset(root, tokenizer)
    (root / TABLE).write_text(table.replace("Ann0-snips-train-0", "Ann0-snips-train-9"))
    with pytest.raises(FitHubertError, match="Ann0-snips-train-0.wav: expected a sound line for it in the table"):
        dataset(root, tokenizer)


def test_a_batch_keeps_names_with_dots(ready, tokenizer, tmp_path):
    items = [(noise(tmp_path / f"A-snips-train-{i}.x.wav", 100 + i), [1, 2], f"A-snips-train-{i}.x") for i in range(3)]
    waveforms, tokens, names = collect_utterances([items], split="train")
    assert [len(waveform) for waveform in waveforms] == [102, 101, 100]
    assert names == [f"A-snips-train-{i}.x" for i in (2, 1, 0)] and all(np.array_equal(one, [1, 2]) for one in tokens)


# runs


def test_train_resume_and_evaluate(ready, capsys):
    logged = main(train("sf", "exp"))
    assert 0 <= SF.result(logged, "dev") <= 100 and SF.further(logged, "dev")["sf_cer"] >= 0
    main([*train("sf", "exp"), "-a", "-o", "config.runner.total_steps=4"])
    states = [torch.load(f"exp/states-{step}.ckpt", weights_only=True) for step in (2, 4)]
    assert [state["Step"] for state in states] == [2, 4]
    scores = main(EVALUATE)
    assert scores == main([*EVALUATE[:3], "exp/states-4.ckpt"]) and all(map(math.isfinite, scores.values()))
    lines = Path("exp/test-ref.ark").read_text().splitlines()
    assert lines[0] == "Ann2-snips-test-1 ADD B-artist CAT E-artist TO B-playlist MAT E-playlist"
    assert len({line.split()[0] for line in lines}) == len(lines) == 6
    best = main([*EVALUATE, "--all-states"])
    assert best.keys() == scores.keys() and Path("exp/all_states_test.csv").read_text().startswith(
        "checkpoint,test F1 %"
    )


def test_the_feature_cache_and_workers_change_no_bit(ready):
    plain = main(train("sf", "plain"))
    assert main([*train("sf", "cached", f"{CORPUS}.num_workers=1"), "--feature-cache", "cache"]) == plain


def test_a_corpus_that_has_moved(ready, damaged, tmp_path, capsys):
    folder = damaged("sf")
    main(train("sf", "exp"))
    result = main(EVALUATE)
    moved = folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert str(folder) in told(capsys, *EVALUATE)
    assert main([*EVALUATE, "-o", f"{CORPUS}.path={moved}"]) == result  # the slots file follows


def test_symbols_that_are_numbered_otherwise(ready, damaged, capsys):
    folder = damaged("sf")
    main(train("sf", "exp"))
    (folder / SLOTS).write_text("O\nplaylist\nartist")
    capsys.readouterr()
    for flags in (EVALUATE, ["-m", "evaluate", "-i", "exp/states-2.ckpt", *train("sf", "other")[2:]]):
        line = told(capsys, *flags)
        assert f"{folder / SLOTS}: expected characters and slots in the order that the model was trained with" in line
        assert "found 'playlist' in the place of 'artist'" in line


def test_checkpoints_of_phone_recognition_are_of_another_task(ready, capsys):
    main(train("pr", "pr"))
    capsys.readouterr()
    line = refused(capsys, "-i", "pr/states-2.ckpt", *train("sf", "exp"))
    assert line.endswith("pr/states-2.ckpt: expected a checkpoint of corpus.name snips, found one of libriphone")
    line = refused(capsys, *train("sf", "exp"), "--skip-oov")
    assert "--skip-oov: expected -d ctc with a corpus libriphone" in line
    assert "expected the config of the original run" in told(capsys, *train("sf", "pr"), "-a")


def test_what_is_wrong_is_told_before_training(ready, damaged, capsys):
    folder = damaged("sf")
    table = (folder / TABLE).read_text()
    (folder / TABLE).write_text(table.replace("O artist O playlist", "O artist O", 1))
    assert f"{folder / TABLE}, line 2: expected words, each with a slot" in refused(capsys, *train("sf", "exp"))
    (folder / TABLE).write_text(table.replace("CAT", "CAFÉ"))
    main(train("sf", "exp"))
    assert "words learned with <unk>: 4" in capsys.readouterr().out  # of train and valid
    (folder / "test" / "Ann2-snips-test-0.wav").unlink()
    main([*train("sf", "exp"), "-a"])  # which does not read it
    assert "Ann2-snips-test-0" in told(capsys, *EVALUATE)
    (folder / SLOTS).unlink()
    assert "run `fithubert prepare snips" in refused(capsys, *train("sf", "other"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (f"{CORPUS}.train_speakers=[Carl]", "expected recordings of the speaker Carl, found none"),
        (f"{CORPUS}.trian_speakers=[Ann0]", "unknown key 'trian_speakers', nothing reads it"),
        (f"{CORPUS}.dev_speakers=[Ann1]", "unknown key 'dev_speakers', nothing reads it"),
        (f"{CORPUS}.train_speakers=Ann0", "config.downstream_expert.corpus.train_speakers: expected a list"),
        (f"{CORPUS}.skip_oov=true", "unknown key 'skip_oov', nothing reads it"),
        ("config.downstream_expert.text.mode=character", "text.mode: expected character-slot for slot filling"),
        (
            "config.downstream_expert.text.vocab_file=nothing.txt",
            "vocabulary nothing.txt: expected a file of that name",
        ),
        (f"{SLOTS_KEY}=nothing.txt", "nothing.txt: expected a text in UTF-8, found: No such file or directory"),
    ],
)
def test_wrong_settings(ready, capsys, override, words):
    assert words in refused(capsys, *train("sf", "exp", override))


def test_chosen_speakers(ready):
    main(train("sf", "exp", f"{CORPUS}.valid_speakers=[Bob1]"))
    assert {line.split("-")[0] for line in Path("exp/dev-ref.ark").read_text().splitlines()} == {"Bob1"}


def test_a_config_of_the_other_task(ready, capsys):
    flags = train("sf", "exp", f"{CORPUS}.name=libriphone")
    assert "expected SNIPS-train.trans.txt with the audio, found none" in refused(capsys, *flags)
    line = refused(capsys, *instead(train("ks", "exp"), "-d", "ctc"))
    assert "expected downstream_expert.corpus.name in its config" in line


def test_in_a_table(ready, capsys):
    from fithubert_upstream.superb.run import main as superb

    steps = [f"sf:runner.{name}_step{'s' if name == 'total' else ''}=2" for name in ("total", "eval", "save")]
    changes = [*steps, "sf:downstream_expert.corpus.num_workers=0", "sf:downstream_expert.model.RNNs.dim=[16]"]
    flags = [word for change in changes for word in ("--override", change)]
    (row,) = superb(["-u", "fbank", "--tasks", "sf", "--seeds", "1", "2", "-o", "out", *flags])
    result = json.loads(Path("out/fbank/sf/seed-1/result.json").read_text())
    assert row.sf is not None and row.sf_cer is not None and row.spread.keys() == {"sf", "sf_cer"}
    assert result["more"]["sf_cer"] == 100 * result["logged"]["ctc-snips/test-slot_value_cer"]
    assert "| SF (F1) | SF (CER) |" in " ".join(Path("out/table.md").read_text().split())
    assert superb(["--verify", "out"]) == []
    with pytest.raises(FitHubertError, match="corpus.name: expected snips, found the corpus of pr"):
        superb(["-u", "fbank", "--tasks", "sf", "-o", "x", "--override", "sf:downstream_expert.corpus.name=libriphone"])


# the official config


def test_the_full_config_has_superbs_settings(ready):
    s3prl_compat.apply()
    from s3prl.downstream.ctc.expert import DownstreamExpert

    config = expand_variables(yaml.safe_load(find_config("sf.yaml", DOWNSTREAM_CONFIGS).read_text()))
    complete(config)
    assert read_settings("ctc", config) == config
    steps = ("total_steps", "gradient_accumulate_steps", "log_step", "eval_step", "save_step", "max_keep")
    assert [config["runner"][name] for name in steps] == [200_000, 1, 100, 2000, 500, 1]
    assert config["runner"]["gradient_clipping"] == 1 and config["runner"]["eval_dataloaders"] == ["dev"]
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4}
    expert = config["downstream_expert"]
    speakers = [expert["corpus"][f"{folder}_speakers"] for folder in ("train", "valid", "test")]
    assert [len(names) for names in speakers] == [8, 4, 4] and len(set(sum(speakers, []))) == 16
    assert (expert["corpus"]["batch_size"], expert["corpus"]["num_workers"]) == (32, 12)
    assert expert["metric"][:2] == ["slot_type_f1", "slot_value_cer"] and expert["metric_higher_better"] is True
    head = DownstreamExpert(upstream_dim=768, upstream_rate=320, expdir=".", **config)
    layers = [layer.layer for layer in head.model.rnns]
    assert head.projector.weight.shape == (1024, 768)
    assert [(layer.hidden_size, layer.bidirectional) for layer in layers] == [(1024, True)] * 2
    assert head.model.linear.weight.shape == (3 + 28 + 2 * 2, 2048)
