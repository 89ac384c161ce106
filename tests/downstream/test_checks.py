"""What is wrong with a run is one line, before a model is built; the runs themselves are in test_four_tasks."""

import argparse
import shutil
from pathlib import Path

import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream import checks, past_run
from fithubert_upstream.downstream.flags import DEFAULTS
from fithubert_upstream.downstream.upstream_checks import check_device, check_upstream
from fithubert_upstream.errors import FitHubertError

from ..helpers import small_corpora


def fails(function, *args) -> str:
    """The message of the FitHubertError that is raised; it is one line."""
    with pytest.raises(FitHubertError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


# complete


def completed(**expert) -> dict:
    config = {"downstream_expert": expert}
    checks.complete(config)
    return config["downstream_expert"]


def test_packaged_files_stand_in_for_missing_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expert = completed(text={"vocab_file": "elsewhere/phoneme.txt"}, corpus={"lexicon": ["cmudict", "own.txt"]})
    assert len(Path(expert["text"]["vocab_file"]).read_text().split()) == 71
    assert expert["corpus"]["lexicon"] == ["cmudict", "own.txt"]
    Path("phoneme.txt").write_text("A\n")
    assert completed(text={"vocab_file": "phoneme.txt"}) == {"text": {"vocab_file": "phoneme.txt"}}
    message = fails(lambda: completed(text={"vocab_file": "char.dict"}))
    assert message.startswith("vocabulary char.dict: expected a file") and "phoneme.txt" in message


def test_the_dictionary_lies_with_the_tables():
    assert (
        completed(datarc={"bucket_file": "/x/len_for_bucket"})["datarc"]["dict_path"] == "/x/len_for_bucket/char.dict"
    )
    own = {"bucket_file": "/x", "dict_path": "/y/own.dict"}
    assert completed(datarc=dict(own)) == {"datarc": own}
    assert completed(datarc={"speech_commands_root": "/x"}) == {"datarc": {"speech_commands_root": "/x"}}
    config = {"runner": {}}
    checks.complete(config)
    assert config == {"runner": {}}


def test_files_that_are_gone_are_looked_for_in_the_corpus_of_now(tmp_path):
    tables = tmp_path / "libri" / "len_for_bucket"
    tables.mkdir(parents=True)
    (tables / "char.dict").touch()
    old = {"libri_root": str(tmp_path / "libri"), "bucket_file": "/x/len_for_bucket"}
    found = {"libri_root": old["libri_root"], "bucket_file": str(tables), "dict_path": str(tables / "char.dict")}
    assert completed(datarc=old | {"dict_path": "/x/len_for_bucket/char.dict"})["datarc"] == found

    (tmp_path / "vox").mkdir()
    (tmp_path / "vox" / "test_trials.txt").touch()
    own = tmp_path / "own.txt"
    own.touch()
    data = {"file_path": str(tmp_path / "vox"), "dev_meta_data": "/dev/null", "test_meta_data": "/x/test_trials.txt"}
    assert completed(datarc=dict(data))["datarc"] == data | {
        "test_meta_data": str(tmp_path / "vox" / "test_trials.txt")
    }
    for root in ("file_path", "root"):  # the list of identification, the folder of emotions
        moved = completed(datarc={root: str(tmp_path / "vox"), "meta_data": "/x/test_trials.txt"})["datarc"]
        assert moved["meta_data"] == str(tmp_path / "vox" / "test_trials.txt")
    data |= {"dev_meta_data": str(own), "test_meta_data": "/x/no.txt"}  # what is there, and what is nowhere
    assert completed(datarc=dict(data))["datarc"] == data


# -e, -i, -u, -k


def past(place, mode="train"):
    return past_run.find_past(argparse.Namespace(mode=mode, past_exp=str(place)))


def test_past_experiments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "-e no.ckpt: no such file or folder" in fails(past, "no.ckpt")
    Path("old").mkdir()
    assert "no checkpoint at all" in fails(past, "old")
    torch.save({"Args": argparse.Namespace(), "Config": {}, "Weights": torch.randn(1000)}, "whole.ckpt")
    shutil.copy("whole.ckpt", "old/dev-best.ckpt")
    assert "found dev-best.ckpt; name the checkpoint file" in fails(past, "old")
    past("old/dev-best.ckpt")

    shutil.copy("whole.ckpt", "old/states-1000.ckpt")
    Path("old/states-900.ckpt").write_bytes(b"")
    for mode in ("train", "evaluate"):
        assert past("old", mode)[0] == Path("old/states-1000.ckpt")
    states = torch.load("whole.ckpt", weights_only=True)
    torch.save(states, "legacy.ckpt", _use_new_zipfile_serialization=False)
    past("legacy.ckpt")


class Unknown:
    """Not allowed in a checkpoint."""


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"Args": argparse.Namespace(), "Config": {}, "Weights": torch.randn(1000)}, path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:3000], b"\x80\x02"):
        path.write_bytes(content)
        assert f"-e {path}: expected a checkpoint of `fithubert downstream`" in fails(past, path)
    for other in ({"model": torch.zeros(1)}, torch.zeros(3), 7, {"Args": Unknown(), "Config": {}}):
        torch.save(other, path)
        assert f"-e {path}: expected a checkpoint" in fails(past, path)


def test_upstreams(tmp_path):
    s3prl_compat.apply()
    from s3prl import hub

    register()

    def check(name, ckpt=None, where="torch"):
        check_upstream(argparse.Namespace(**DEFAULTS | {"hub": where, "upstream": name, "upstream_ckpt": ckpt}), hub)

    assert "-u: expected the name of an upstream, found none" in fails(check, None)
    assert "fithubert" in fails(check, "fithubrt").partition("nearest: ")[2]
    assert fails(check, "fithubert", "no.ckpt").startswith("-k no.ckpt: expected a file or a URL")
    (tmp_path / "x.ckpt").touch()
    for name, ckpt in (
        ("fbank", None),
        ("fithubert", str(tmp_path / "x.ckpt")),
        ("wav2vec2_url", "https://example.org/x.pt"),
        ("hf_wav2vec2_custom", "facebook/wav2vec2-base"),
    ):
        check(name, ckpt)
    check("someone/a-repository", where="huggingface")


# the corpus


RUNNER = {"total_steps": 2, "eval_dataloaders": ["dev"]}


def arguments(downstream, mode="train", split="test", **more):
    return argparse.Namespace(downstream=downstream, mode=mode, evaluate_split=split, **more)


def config(runner=None, **expert) -> dict:
    return {"runner": RUNNER | (runner or {}), "optimizer": {}, "downstream_expert": expert}


@pytest.fixture(scope="module")
def libri(tmp_path_factory):
    return small_corpora.librispeech(tmp_path_factory.mktemp("libri"))


def pr(libri, **corpus) -> dict:
    splits = {"train": ["train"], "dev": ["dev"], "test": ["test"]}
    corpus = {"name": "libriphone", "path": str(libri), "lexicon": ["cmudict"], **splits, **corpus}
    return config(corpus=corpus, text={}, model={})


def asr(libri, **data) -> dict:
    splits = {"train": ["train"], "dev": ["dev"], "test-clean": ["test"]}
    made = config(
        datarc={"libri_root": str(libri), "bucket_file": f"{libri}/len_for_bucket", **splits, **data}, modelrc={}
    )
    checks.complete(made)
    return made


def test_a_sound_corpus_passes(libri):
    for mode in ("train", "evaluate"):
        checks.check_corpus(arguments("ctc", mode), pr(libri))
        checks.check_corpus(arguments("asr", mode, "test-clean"), asr(libri))


def test_only_the_splits_of_the_run_are_read(libri):
    without_test = pr(libri, test=["none-such"])
    checks.check_corpus(arguments("ctc"), without_test)
    message = fails(checks.check_corpus, arguments("ctc", "evaluate"), without_test)
    assert "expected a sub-folder none-such, found dev, len_for_bucket, test, train" in message
    assert message.endswith(
        "give -o config.downstream_expert.corpus.path=..., or correct the splits in config.downstream_expert.corpus"
    )
    message = fails(checks.check_corpus, arguments("asr"), asr(libri, train=["none-such"]))
    assert "give -o config.downstream_expert.datarc.libri_root=..., or correct the splits in" in message


def test_splits_of_librispeech(libri):
    message = fails(checks.check_corpus, arguments("ctc", "evaluate", "test-other"), pr(libri))
    assert message == ("split test-other: not in the config; available: train, dev, test")
    runner = {"eval_dataloaders": ["dev-clean"]}
    made = pr(libri) | {"runner": RUNNER | runner}
    assert "split dev-clean" in fails(checks.check_corpus, arguments("ctc"), made)
    checks.check_corpus(arguments("ctc", "evaluate"), made)
    made = pr(libri) | {"runner": RUNNER | {"train_dataloader": "train-other"}}
    assert "split train-other" in fails(checks.check_corpus, arguments("ctc"), made)


def test_task_and_config_agree(libri):
    assert "-d: expected a task, found none; give one of ctc, asr" in fails(checks.check_corpus, arguments(None), {})
    assert "-d ks: no such task in s3prl" in fails(checks.check_corpus, arguments("ks"), {})
    for key in ("runner", "optimizer", "downstream_expert"):
        made = pr(libri)
        del made[key]
        message = fails(checks.check_corpus, arguments("ctc"), made)
        assert f"-d ctc: expected {key}" in message and f"found no {key} beside" in message
    message = fails(checks.check_corpus, arguments("sv_voxceleb1"), config(datarc={"batch_size": 3}))
    assert "expected downstream_expert.datarc.file_path in its config, found no file_path beside batch_size" in message
    # s3prl's other tasks are its own
    checks.check_corpus(arguments("mosei"), config(datarc={}))


def test_where_to_begin_is_a_file(libri, tmp_path):
    args = arguments("ctc", init_ckpt=str(tmp_path / "x.ckpt"))
    assert f"-i {tmp_path}/x.ckpt: expected a checkpoint" in fails(checks.check_corpus, args, pr(libri))
    (tmp_path / "x.ckpt").touch()
    checks.check_corpus(args, pr(libri))


def test_inference(libri, tmp_path):
    audio = libri / "test" / "3" / "7" / "3-7-0000.flac"
    checks.check_corpus(arguments("asr", "inference", str(audio)), asr(libri))
    args = arguments("asr", "inference", str(tmp_path / "no.wav"))
    assert f"{tmp_path}/no.wav: expected an audio file" in fails(checks.check_corpus, args, asr(libri))
    args = arguments("ctc", "inference", str(audio))
    assert "-m inference: s3prl supports it for -d asr only" in fails(checks.check_corpus, args, pr(libri))
    gone = asr(libri, dict_path="/x/none.dict")
    assert "/x/none.dict: expected a dictionary" in fails(
        checks.check_corpus, arguments("asr", "inference", str(audio)), gone
    )


def test_keyword_spotting(tmp_path):
    root = small_corpora.speech_commands(tmp_path)
    roots = {"speech_commands_root": str(root / "train"), "speech_commands_test_root": str(root / "test")}
    checks.check_corpus(arguments("speech_commands"), config(datarc=roots | {"batch_size": 12}, modelrc={}))
    large = config(datarc=roots | {"batch_size": 13}, modelrc={})
    message = fails(checks.check_corpus, arguments("speech_commands"), large)
    assert message.startswith(f"{root}/train: expected clips for a batch of 13, found 12; give -o ")
    checks.check_corpus(arguments("speech_commands", "evaluate"), large)


def test_speaker_verification(tmp_path):
    root = small_corpora.voxceleb1(tmp_path)
    trials = {"dev_meta_data": "/dev/null", "test_meta_data": str(root / "test_trials.txt")}
    data = {"file_path": str(root), "vad_config": {"min_sec": 32000}, **trials}
    made = config({"eval_dataloaders": []}, datarc=data, modelrc={})
    checks.check_corpus(arguments("sv_voxceleb1"), made)
    checks.check_corpus(arguments("sv_voxceleb1", "evaluate"), made)
    message = fails(checks.check_corpus, arguments("sv_voxceleb1", "evaluate", "dev"), made)
    assert message.startswith("split dev: expected a list of trials, found /dev/null; give -o config.")
    data["vad_config"]["min_sec"] = 48000
    message = fails(checks.check_corpus, arguments("sv_voxceleb1"), made)
    assert f"{root}/dev/wav: expected utterances of over 3 s" in message
    checks.check_corpus(arguments("sv_voxceleb1", "evaluate"), made)


def test_intent_classification(tmp_path):
    root = small_corpora.fluent_commands(tmp_path)
    data = {"file_path": str(root), "train_batch_size": 3}
    made = config(datarc=data, modelrc={})
    for mode in ("train", "evaluate"):
        checks.check_corpus(arguments("fluent_commands", mode), made)
    message = fails(checks.check_corpus, arguments("fluent_commands", "evaluate", "valid"), made)
    assert message == "split valid: not in the config; available: train, dev, test"
    (root / "wavs" / "speakers" / "s1" / "valid-1.wav").unlink()
    message = fails(checks.check_corpus, arguments("fluent_commands"), made)
    assert message.startswith(f"{root}/data/valid_data.csv, line 3: expected wavs/speakers/s1/valid-1.wav in {root}")
    assert "-m inference: s3prl supports it for -d asr only" in fails(
        checks.check_corpus, arguments("fluent_commands", "inference", "x.wav"), made
    )


def test_speaker_identification(tmp_path):
    root = small_corpora.voxceleb1(tmp_path)
    data = {"file_path": str(root), "meta_data": str(root / "veri_test_class.txt"), "max_timestep": None}
    made = config(datarc=data, modelrc={})
    for mode in ("train", "evaluate"):
        checks.check_corpus(arguments("voxceleb1", mode), made)
    assert "split x: not in the config" in fails(checks.check_corpus, arguments("voxceleb1", "evaluate", "x"), made)
    (root / "test" / "wav" / "id10101" / "s1" / "00001.wav").unlink()
    message = fails(checks.check_corpus, arguments("voxceleb1"), made)
    assert message.startswith(f"{root}/veri_test_class.txt, line 8: expected id10101/s1/00001.wav once in {root}/*/wav")


def er(root, **data) -> dict:
    names = {"root": str(root), "meta_data": f"{root}/meta_data", "test_fold": "fold2", "pre_load": True}
    return config(datarc={**names, "valid_ratio": 0.2, **data}, modelrc={})


def test_emotion_recognition(tmp_path):
    root = small_corpora.iemocap(tmp_path, prepared=False)
    message = fails(checks.check_corpus, arguments("emotion"), er(root))
    assert message.startswith(f"{root}/meta_data/Session2/train_meta_data.json: expected utterances and their emotions")
    assert message.endswith(f"; run `fithubert prepare iemocap {root}`")
    small_corpora.prepare_iemocap(root, progress=False)
    for mode in ("train", "evaluate"):
        checks.check_corpus(arguments("emotion", mode), er(root))
    (root / "meta_data" / "Session1" / "train_meta_data.json").unlink()
    checks.check_corpus(arguments("emotion"), er(root))  # of another fold
    assert "Session1/train" in fails(checks.check_corpus, arguments("emotion"), er(root, test_fold=None))
    assert "split x: not in the config" in fails(checks.check_corpus, arguments("emotion", "evaluate", "x"), er(root))


def test_shares_of_emotion_recognition_that_leave_nothing(tmp_path):
    root = small_corpora.iemocap(tmp_path)
    for ratio, split in ((0.0, "dev"), (0.99, "train")):
        message = fails(checks.check_corpus, arguments("emotion"), er(root, valid_ratio=ratio))
        assert message == (
            f"config.downstream_expert.datarc.valid_ratio: expected a share that leaves utterances for {split}, found "
            f"{ratio} of 16"
        )
        checks.check_corpus(arguments("emotion", "evaluate"), er(root, valid_ratio=ratio))


def test_a_variant_that_the_config_overrules(tmp_path):
    root = small_corpora.iemocap(tmp_path)
    message = fails(checks.check_corpus, arguments("emotion", downstream_variant="fold3"), er(root))
    key = "config.downstream_expert.datarc.test_fold"
    assert message == f"-v fold3: expected none, since {key} is fold2; give -o {key}=fold3 instead"
    for variant in ("fold2", None):
        checks.check_corpus(arguments("emotion", downstream_variant=variant), er(root))
    checks.check_corpus(arguments("emotion", downstream_variant="fold3"), er(root, test_fold=None))


def test_a_device_that_is_not_there_is_told():
    check_device("cpu")
    for name in ("nosuch", "cuda:99"):
        with pytest.raises(FitHubertError, match=f"--device {name}: expected a device") as caught:
            check_device(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["config.runner.total_steps", "conf.a=b", "runner.total_steps=3", "config.a=1,,"])
def test_an_override_without_its_form_is_told(override):
    with pytest.raises(FitHubertError, match="-o .*: expected args.KEY=VALUE or config.KEY=VALUE"):
        checks.check_override(override)
    checks.check_override("config.a.b=[1, 2],,args.seed=3,,config.c=/data/x=1")
