"""Options that an entry, a task or a mode does not use were swallowed by `**kwargs`, or passed over.

`-u fithubert_mini -k my.safetensors` trained on the embedded weights and never opened the file; a misspelt
`precison="bf16"` was fp32; `-s` with a feature that the upstream lacks was hidden_states.
"""

import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.assets import find
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.downstream.flags import read_flags, with_defaults
from fithubert_upstream.downstream.repairs import models as s3prl_models
from fithubert_upstream.downstream.upstream_checks import check_upstream
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint import export as export_joint
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pretrain import run as run_pretrain
from fithubert_upstream.upstream import hubconf
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.onnx_expert import OnnxExpert

from ..conftest import REPO
from ..helpers.tiny import SMALL

MINI = str(find("fithubert_mini"))
TRAIN = ("-m", "train", "-u", "fbank", "-d", "ctc", "-n", "x")


def fails(function, *args, **kwargs) -> str:
    with pytest.raises(FitHubertError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["fithubert_mini", "hubert_mini", "fithubert_960h", "fithubert_100h", "fitw2v2_960h"])
def test_an_entry_with_weights_of_its_own_takes_none(name):
    entry = hubconf.ENTRIES[name]
    assert f"{name}: expected no ckpt (-k)" in fails(entry, ckpt=MINI)
    assert f"{name}: expected no model_config (-g)" in fails(entry, model_config="x.yaml")
    assert "did you mean precision?" in fails(entry, precison="bf16")
    assert "unknown option hooks" in fails(entry, hooks=[])


def test_what_entries_for_files_do_not_use(tmp_path):
    for entry in (hubconf.fithubert, hubconf.fithubert_local):
        assert "expected no refresh (-r)" in fails(entry, MINI, refresh=True)
        assert "did you mean compile?" in fails(entry, MINI, compil=True)
        assert "unknown option sha256" in fails(entry, MINI, sha256="00")
    assert "model_config (-g)" in fails(hubconf.fithubert, model_config="x.yaml")
    assert "did you mean sha256?" in fails(hubconf.fithubert_url, "file:///x", sha25="00")
    for name in ("fithubert_local", "fithubert_url"):
        assert f"{name}: expected a ckpt (-k), found none" in fails(hubconf.ENTRIES[name], None)
    (tmp_path / "x.onnx").touch()
    assert "model_config (-g) cannot be chosen: export fixes them" in fails(
        hubconf.fithubert_local, tmp_path / "x.onnx", "x.yaml"
    )
    assert "did you mean chunk_seconds?" in fails(UpstreamExpert, MINI, chunk_secs=3)
    assert "unknown option precision" in fails(OnnxExpert, tmp_path / "x.onnx", precision="fp32")


def test_what_s3prls_runner_passes_to_every_entry(tmp_path):
    nothing = {"ckpt": None, "model_config": None, "refresh": False}
    assert isinstance(hubconf.fithubert_mini(**nothing), UpstreamExpert)
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    for refresh in (None, False):
        hubconf.fithubert(tmp_path / "s.safetensors", model_config=None, refresh=refresh)
    upstream = torch.hub.load(str(REPO), "fithubert_mini", source="local", precision="bf16", chunk_seconds=9)
    assert upstream.precision == "bf16" and upstream.chunk_seconds == 9


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-u", "fithubert_mini", "-k", MINI], "fithubert_mini: expected no ckpt (-k)"),
        (["-u", "hubert_mini", "-g", __file__], "hubert_mini: expected no model_config (-g)"),
        (["-u", "fithubert_mini", "-r"], "fithubert_mini: expected no refresh (-r)"),
        (["-u", "fbank", "-k", MINI], "-k .*: expected none, since -u fbank"),
        (["-u", "hubert_base", "-k", MINI], "-k .*: expected none, since -u hubert_base"),
        (["-u", "fbank", "-g", __file__], "-g .*: expected none, since -u fbank"),
        (["-u", "fbank", "-r"], "-r: expected an upstream that is downloaded"),
        (["-u", "fithubert_local"], "fithubert_local: expected a ckpt (-k), found none"),
        (["-u", "hubert_local"], "hubert_local: expected -k"),
        (["-u", "baseline_local"], "baseline_local: expected -g"),
        (["-u", "fithubert", "-k", MINI, "-g", "no.yaml"], "-g no.yaml: expected a file"),
    ],
)
def test_what_an_upstream_does_not_read_is_refused(flags, words):
    register()
    from s3prl import hub

    with pytest.raises(FitHubertError, match=words.replace("(", r"\(").replace(")", r"\)")):
        check_upstream(with_defaults(read_flags(["-m", "train", "-n", "x", *flags])), hub)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*TRAIN, "--upstream_ckp", "x"], "--upstream_ckp: unknown flag.*did you mean --upstream_ckpt?"),
        ([*TRAIN, "-x"], "-x: unknown flag"),
        ([*TRAIN, "more"], "more: unknown word"),
        ([*TRAIN, "-l", "first"], "invalid int"),
        (["-u", "fbank"], "required: -m"),
        ([*TRAIN, "-t", "test"], "-t: expected -m evaluate"),
        ([*TRAIN, "-p", "y"], "-n: expected -n NAME or -p DIR, found both"),
        (["-m", "train", "-u", "fbank"], "expected -n NAME or -p DIR .*found neither"),
        ([*TRAIN, "-e", "z", "-i", "z"], "-i: expected -e or -i, found both"),
        ([*TRAIN, "-e", "z", "-a"], "-a: expected -e or -a, found both"),
        ([*TRAIN, "--backend", "gloo"], "--backend: expected --local_rank"),
        ([*TRAIN, "--upstream_revision", "1"], "--upstream_revision: expected --hub"),
        ([*TRAIN, "--upstream_model_name", "m.pt"], "--upstream_model_name: expected --hub"),
        ([*TRAIN, "--hf_hub_org", "x"], "--hf_hub_org: "),
        ([*TRAIN, "--push_to_hf_hub", "True"], "--push_to_hf_hub: .*hf upload"),
        ([*TRAIN, "--push_to_hf_hub", "perhaps"], "expected True or False"),
        ([*TRAIN, "--verbose"], "--verbose: "),
        ([*TRAIN, "--feature-cache-gb", "3"], "--feature-cache-gb: expected --feature-cache"),
        ([*TRAIN, "--feature-cache", "c", "--feature-cache-gb", "nan"], "expected more than 0"),
        ([*TRAIN, "--seed", "-1"], "--seed: expected 0 to"),
        (["-m", "evaluate", "-n", "x", "-i", "z", "-f"], "-f: expected -m train"),
        (["-m", "inference", "-e", "z"], "-t: expected an audio file"),
        (["-m", "inference", "-e", "z", "-t", "a.wav", "--skip-oov"], "--skip-oov: "),
    ],
)
def test_flags_that_do_not_go_together(flags, words):
    with pytest.raises(FitHubertError, match=words.replace("?", r"\?")) as caught:
        read_flags(flags)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("job", [run_pretrain.main, export_joint.main])
def test_unknown_words_of_other_jobs(job):
    needed = ["run", "-o", "x"] if job is export_joint.main else []
    with pytest.raises(FitHubertError, match="more: unknown word"):
        job([*needed, "more"])
    with pytest.raises(FitHubertError, match="--upstraem: unknown flag; did you mean --upstream"):
        job([*needed, "--upstraem", "x"])


FEATURES = {"last_hidden_state": torch.zeros(1, 4, 2), "hidden_states": [torch.zeros(1, 4, 2)] * 3, "_info": ["a"]}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-s", "last_hiden"], "-s last_hiden: .*it has last_hidden_state, hidden_states$"),
        (["-s", "_info"], "-s _info: -u fbank has no such feature"),
        (["-l", "3"], "-l 3: .* 0 to 2"),
        (["-l", "-4"], "-l -4: "),
        (["-s", "last_hidden_state", "-l", "0"], "-l: expected a feature of several layers"),
        (["-s", "last_hidden_state", "--upstream_feature_normalize"], "--upstream_feature_normalize: expected"),
        (["-l", "1", "--upstream_feature_normalize"], "--upstream_feature_normalize: expected a sum"),
    ],
)
def test_features_and_layers_that_are_not_there(flags, words):
    with pytest.raises(FitHubertError, match=words):
        s3prl_models.check_feature(with_defaults(read_flags([*TRAIN, *flags])), FEATURES)


def test_features_and_layers_that_are_there():
    for flags in ([], ["-l", "2"], ["-l", "-1"], ["-s", "last_hidden_state"], ["--upstream_feature_normalize"]):
        s3prl_models.check_feature(with_defaults(read_flags([*TRAIN, *flags])), FEATURES)


def test_fine_tuning_of_what_has_no_weights():
    args = with_defaults(read_flags([*TRAIN, "-f"]))
    assert "-f: expected an upstream with weights" in fails(s3prl_models.check_trainable, args, torch.nn.Module())
    s3prl_models.check_trainable(args, torch.nn.Linear(1, 1))
