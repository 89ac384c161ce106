"""A states file of s3prl's runner -> one file that gives the same numbers."""

import argparse

import pytest
import torch
from s3prl.upstream.interfaces import Featurizer
from torch import nn

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.downstream.joint_ks_sv.config import KeywordConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.export import find_states, joint_from_states, main
from fithubert_upstream.joint.model import load_joint
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.joint_models import CLASSES, TWO_LAYERS
from ..helpers.tiny import RELATIVES, SMALL

REUSED, PRUNED = (FitHubertConfig.from_dict(RELATIVES[kind]) for kind in ("reused maps", "relative positions"))
WAV = torch.randn(7777, generator=torch.Generator().manual_seed(1))


class Run:
    """The modules of a run, as s3prl's runner holds them, and the file it saves of them."""

    def __init__(self, folder, student=SMALL, tuned=True, tasks=("ks", "sv"), threshold=0.5, **args):
        self.ckpt = folder / "student.safetensors"
        save_fithubert(FitHubert(student), self.ckpt)
        self.upstream = UpstreamExpert(self.ckpt).eval()
        options = {
            "upstream_feature_selection": "hidden_states",
            "upstream_layer_selection": None,
            "upstream_feature_normalize": False,
        }
        self.args = argparse.Namespace(
            downstream="joint_ks_sv",
            upstream="fithubert",
            upstream_ckpt=str(self.ckpt),
            upstream_model_config=None,
            upstream_trainable=tuned,
            seed=1337,
            **options | args,
        )
        self.featurizer = Featurizer(
            self.upstream,
            self.args.upstream_feature_selection,
            "cpu",
            self.args.upstream_layer_selection,
            self.args.upstream_feature_normalize,
        )
        if tuned:  # other weights than the file's
            self.upstream.train()
            for parameter in self.upstream.parameters():
                parameter.data += 0.02 * torch.randn_like(parameter)
            self.upstream.eval()
        for weights in self.featurizer.parameters():
            weights.data.normal_()
        width = self.featurizer.output_dim
        self.heads = nn.ModuleDict()
        if "ks" in tasks:
            self.heads["ks_head"] = nn.Linear(width, len(CLASSES))
        if "sv" in tasks:
            self.heads["sv_head"] = nn.Linear(width, 6)
        self.states = {
            "Args": self.args,
            "Config": {"downstream_expert": {"tasks": list(tasks), "ks": {"classes": list(CLASSES)}}},
            "Step": 7,
            "Optimizer": {},
            "Featurizer": self.featurizer.state_dict(),
            "Downstream": self.heads.state_dict()
            | {"sv_loss.weight": torch.ones(3, 6), "threshold": torch.tensor(threshold), "_extra_state": {"ks": 1}},
        }
        if tuned:
            self.states["Upstream"] = self.upstream.state_dict()
        self.path = folder / "dev-best.ckpt"
        self.save()

    def save(self):
        torch.save(self.states, self.path)

    @torch.no_grad()
    def answer(self):
        """What the runner's modules say of WAV."""
        mean = self.featurizer([WAV], self.upstream([WAV]))[0].mean(dim=0)
        voice = self.heads["sv_head"](mean)
        return self.heads["ks_head"](mean).softmax(dim=0), voice / voice.norm()


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize(
    ("student", "args", "heads"),
    [
        (SMALL, {}, ()),
        (SMALL, {"upstream_feature_normalize": True}, ()),
        (SMALL, {"upstream_feature_selection": "last_hidden_state"}, (3,)),
        (SMALL, {"upstream_feature_selection": "last_hidden_state", "upstream_layer_selection": 2}, (3,)),
        (SMALL, {"upstream_feature_selection": "projected_states"}, (1, 2, 3)),
        (SMALL, {"upstream_layer_selection": 1}, ()),
        (SMALL, {"upstream_feature_selection": "no_such_key"}, ()),  # s3prl then takes hidden_states
        (TWO_LAYERS, {"upstream_feature_selection": "last_hidden_state"}, (12,)),
        (REUSED, {}, (1, 2, 3)),  # whose hidden states are the heads
        (REUSED, {"upstream_feature_selection": "last_hidden_state"}, (3,)),
        (PRUNED, {}, ()),  # one hidden state more than layers
        (PRUNED, {"upstream_layer_selection": 0}, ()),
    ],
)
def test_the_file_says_what_the_run_said(tmp_path, capsys, tuned, student, args, heads):
    run = Run(tmp_path, student, tuned, **args)
    target = tmp_path / "joint.safetensors"
    main([str(tmp_path), "-o", str(target)])
    model = load_joint(target)
    assert model.config.tasks == ("ks", "sv") and model.config.threshold == 0.5
    assert model.config.student.head_layers == heads  # the others are of no use
    odds, voice = run.answer()
    answer = model(WAV)
    assert answer["keyword"] == CLASSES[int(odds.argmax())]
    assert answer["confidence"] == pytest.approx(float(odds.max()), abs=1e-5)
    torch.testing.assert_close(answer["embedding"], voice, atol=1e-5, rtol=0)

    text = capsys.readouterr().out
    count = sum(parameter.numel() for parameter in model.parameters())
    for part in (f"{count:,} parameters", "MB", "3 keywords", "embeddings of 6", "0.500", "fithubert listen"):
        assert part in text, text


def test_one_layer_needs_no_weights(tmp_path):
    config = SMALL.to_dict() | {"num_layers": 1, "head_layers": [1]}
    run = Run(tmp_path, type(SMALL).from_dict(config), upstream_layer_selection=3)  # s3prl ignores that
    model = joint_from_states(run.path)
    assert model.layer_weights is None and model.config.layer is None
    torch.testing.assert_close(model(WAV)["embedding"], run.answer()[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("tasks", "keys"), [(("ks",), {"keyword", "confidence"}), (("sv",), {"embedding"})])
def test_single_tasks(tmp_path, capsys, tasks, keys):
    Run(tmp_path, tasks=tasks, threshold=float("nan"))
    main([str(tmp_path / "dev-best.ckpt"), "-o", str(tmp_path / "joint.safetensors")])
    model = load_joint(tmp_path / "joint.safetensors")
    assert model.config.tasks == tasks and model.config.threshold is None and set(model(WAV)) == keys
    assert ("no threshold yet" in capsys.readouterr().out) == ("sv" in tasks)


def test_without_classes_they_are_the_twelve_of_speech_commands(tmp_path):
    run = Run(tmp_path)
    del run.states["Config"]["downstream_expert"]["ks"]["classes"]
    head = {"ks_head.weight": torch.zeros(12, 32), "ks_head.bias": torch.arange(12.0)}
    run.states["Downstream"] |= head
    run.save()
    model = joint_from_states(run.path)
    assert {"yes", "go", "_unknown_", "_silence_"} < set(model.config.classes)
    assert model(WAV)["keyword"] == KeywordConfig.classes[-1]


def test_half(tmp_path):
    Run(tmp_path)
    for flags, name in (([], "full"), (["--half"], "half")):
        main([str(tmp_path), "-o", str(tmp_path / name), *flags])
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    full, half = (load_joint(tmp_path / name) for name in ("full", "half"))
    torch.testing.assert_close(half(WAV)["embedding"], full(WAV)["embedding"], atol=0.02, rtol=0)
    assert half.layer_weights.dtype == torch.float32


def test_a_moved_upstream_is_named(tmp_path):
    run = Run(tmp_path, tuned=False)
    moved = run.ckpt.rename(tmp_path / "moved.safetensors")
    assert_error(run.path, ["dev-best.ckpt", "student.safetensors", "-k"])
    torch.testing.assert_close(joint_from_states(run.path, moved)(WAV)["embedding"], run.answer()[1])


def test_the_embedded_student(tmp_path):
    """An entry without a file of the user's."""
    from fithubert_upstream.upstream.hubconf import fithubert_mini

    upstream = fithubert_mini()
    run = Run(tmp_path, upstream.model.config, tuned=False)
    run.args.upstream, run.args.upstream_ckpt, run.upstream = "fithubert_mini", None, upstream.eval()
    run.save()
    torch.testing.assert_close(joint_from_states(run.path)(WAV)["embedding"], run.answer()[1], atol=1e-5, rtol=0)


def assert_error(path, words):
    with pytest.raises(FitHubertError) as caught:
        main([str(path), "-o", str(path.parent / "joint.safetensors")])
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert not (path.parent / "joint.safetensors").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda run: setattr(run.args, "upstream", "fbank"), ["FitHuBERT upstream", "found one on fbank"]),
        (lambda run: setattr(run.args, "upstream", "hubert_base"), ["found one on hubert_base"]),
        (lambda run: setattr(run.args, "downstream", "ctc"), ["-d joint_ks_sv", "found one of -d ctc"]),
        (lambda run: setattr(run.args, "upstream_feature_selection", "hidden_states_40ms"), ["hidden_states_40ms"]),
        (lambda run: run.states.pop("Config"), ["found no Config inside"]),
        (lambda run: run.states["Config"]["downstream_expert"]["ks"]["classes"].pop(), ["ks_head", "(2,", "(3,"]),
        (lambda run: run.states["Upstream"].popitem(), ["1 (", "missing"]),
        (lambda run: run.states["Featurizer"].clear(), ["1 (layer_weights) missing"]),
        (lambda run: [run.states["Downstream"].pop(f"{head}_head.weight") for head in ("ks", "sv")], ["neither"]),
    ],
)
def test_runs_that_cannot_be_exported(tmp_path, edit, words):
    run = Run(tmp_path)
    edit(run)
    run.save()
    assert_error(run.path, words)


def test_files_that_are_no_runs(tmp_path):
    assert_error(tmp_path / "no.ckpt", ["no.ckpt", "found nothing"])
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04")
    assert_error(tmp_path / "cut.ckpt", ["cut.ckpt", "truncated"])
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.ckpt")
    assert_error(tmp_path / "other.ckpt", ["found no Args, Config, Downstream, Featurizer"])
    with pytest.raises(FitHubertError, match="dev-best.ckpt, found cut.ckpt, other.ckpt; name"):
        find_states(tmp_path)
