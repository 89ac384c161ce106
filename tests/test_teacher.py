import pytest
import torch

from fithubert_upstream.config import TeacherConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teacher import S3prlTeacher, TransformersTeacher, load_teacher

from .tiny import make_teacher


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_layer_l_is_the_output_of_the_lth_transformer_layer(tmp_path, kind):
    teacher = load_teacher(TeacherConfig(model=str(make_teacher(tmp_path / "t", kind, layers=3))))
    assert (teacher.num_layers, teacher.width) == (3, 24)
    outputs = []
    for layer in teacher.model.encoder.layers:
        layer.register_forward_hook(lambda module, args, output: outputs.append(output))
    wav = torch.randn(1, 8000)
    layers = teacher(wav)
    for target, output in zip(layers, outputs, strict=True):
        torch.testing.assert_close(target, output[0] if isinstance(output, tuple) else output)


def test_stays_frozen_and_in_eval(tmp_path):
    teacher = TransformersTeacher(str(make_teacher(tmp_path / "t")))
    torch.nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    wav = torch.randn(1, 8000)
    assert torch.equal(teacher(wav)[-1], teacher(wav)[-1])


def test_targets_do_not_depend_on_the_batch(tmp_path):
    teacher = TransformersTeacher(str(make_teacher(tmp_path / "t")))
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    batch = teacher(wavs, lengths)
    single = teacher(wavs[1:, :5000])
    for one, many in zip(single, batch, strict=True):
        torch.testing.assert_close(many[1, : one.size(1)], one[0])
        assert many.shape[:2] == (2, 24)  # 8000 samples


def test_s3prl_and_transformers_give_the_same_layers(tmp_path, monkeypatch):
    from fithubert_upstream import register

    register()
    from s3prl import hub

    folder = make_teacher(tmp_path / "t")
    own = TransformersTeacher(str(folder))

    class Upstream(torch.nn.Module):  # what s3prl's hubert_base returns: the input, then each layer
        def forward(self, wavs):
            states = own.model(torch.stack(wavs), output_hidden_states=True).hidden_states
            return {"hidden_states": states}

    monkeypatch.setattr(hub, "hubert_tiny", lambda: Upstream(), raising=False)
    teacher = S3prlTeacher("hubert_tiny", None)
    wav = torch.randn(1, 8000)
    for one, other in zip(teacher(wav), own(wav), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TeacherConfig(model="/nowhere/at/all"), ["/nowhere/at/all", "transformers directory"]),
        (TeacherConfig(source="s3prl", model="hubert_bse"), ["hubert_bse", "s3prl.hub"]),
        (TeacherConfig(source="s3prl", model="hubert_local", ckpt="/no.pt"), ["/no.pt"]),
        (TeacherConfig(source="s3prl", model="fbank"), ["hidden_states", "1"]),
    ],
)
def test_a_teacher_that_is_not_there(config, words):
    with pytest.raises(FitHubertError) as caught:
        load_teacher(config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_a_teacher_of_another_kind(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(tmp_path)
    with pytest.raises(FitHubertError, match="found bert"):
        load_teacher(TeacherConfig(model=str(tmp_path)))


def test_a_teacher_of_another_frame_rate(tmp_path):
    folder = make_teacher(tmp_path / "t", conv_stride=(5, 2, 2, 2, 2, 2, 1))
    with pytest.raises(FitHubertError, match="expected layers of 49 frames"):
        load_teacher(TeacherConfig(model=str(folder)))
