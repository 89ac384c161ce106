import re

import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.config import TeacherConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teacher import TransformersTeacher, load_teacher

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


def to_fairseq_name(name: str) -> str:
    """transformers HubertModel -> fairseq (facts 5.3)."""
    for ours, theirs in [
        ("feature_projection.", ""),
        ("projection.", "post_extract_proj."),
        (".conv.weight", ".0.weight"),
        ("conv_layers.0.layer_norm", "conv_layers.0.2"),
        ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
        ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
        ("pos_conv_embed.conv.bias", "pos_conv.0.bias"),
        (".attention.", ".self_attn."),
        ("feed_forward.intermediate_dense", "fc1"),
        ("feed_forward.output_dense", "fc2"),
    ]:
        name = name.replace(ours, theirs)
    return re.sub(r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm", name).replace(
        "masked_spec_embed", "mask_emb"
    )


def write_s3prl_hubert(folder, teacher: TransformersTeacher):
    """The same weights as the converted checkpoint that s3prl's `hubert_local` takes."""
    register()
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

    hf = teacher.model.config
    model_cfg = {
        "encoder_layers": hf.num_hidden_layers,
        "encoder_embed_dim": hf.hidden_size,
        "encoder_ffn_embed_dim": hf.intermediate_size,
        "encoder_attention_heads": hf.num_attention_heads,
        "conv_feature_layers": str(list(zip(hf.conv_dim, hf.conv_kernel, hf.conv_stride, strict=True))),
        "conv_pos": hf.num_conv_pos_embeddings,
        "conv_pos_groups": hf.num_conv_pos_embedding_groups,
        "layer_norm_first": False,
        "final_dim": 8,
        "label_rate": 50.0,
    }
    task_cfg = {"normalize": False, "sample_rate": 16000, "label_rate": 50.0}
    model = HubertModel(HubertConfig(**model_cfg), HubertPretrainingConfig(**task_cfg), [["a", "b"]])
    weights = {to_fairseq_name(name): tensor for name, tensor in teacher.model.state_dict().items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) == {"label_embs_concat", "final_proj.weight", "final_proj.bias"} and not unexpected
    content = {"task_cfg": task_cfg, "model_cfg": model_cfg, "model_weight": model.state_dict()}
    torch.save(content | {"dictionaries_symbols": [["a", "b"]]}, folder / "hubert.pt")
    return folder / "hubert.pt"


def test_s3prl_and_transformers_give_the_same_layers(tmp_path):
    own = TransformersTeacher(str(make_teacher(tmp_path / "t", layers=3)))
    teacher = load_teacher(
        TeacherConfig(source="s3prl", model="hubert_local", ckpt=str(write_s3prl_hubert(tmp_path, own)))
    )
    assert (teacher.num_layers, teacher.width) == (3, 24)
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    for one, other in zip(teacher(wavs, lengths), own(wavs, lengths), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


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
