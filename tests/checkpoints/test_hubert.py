"""One random small HuBERT (and one wav2vec 2.0) in every container, against the live transformers model."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fithubert_upstream import register
from fithubert_upstream.compat import torchaudio as torchaudio_compat
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import HubertTeacher, S3prlTeacher, load_teacher

from ..helpers.live_teachers import HEADS, LAYERS, WIDTH, live_layers, make_live, refused

torchaudio_compat.mend_torchaudio_import()

# --- the containers (facts 5.2, 5.3) --------------------------------------------------------------------


def old_names(state):
    """Weight norm as files before torch 2 name it."""
    return {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in state.items()
    }


def fairseq_names(state):
    """transformers HubertModel -> fairseq."""
    renamed = {}
    for name, tensor in old_names(state).items():
        for theirs, fairseq in [
            ("feature_projection.", ""),
            ("projection.", "post_extract_proj."),
            (".conv.weight", ".0.weight"),
            ("conv_layers.0.layer_norm", "conv_layers.0.2"),
            ("pos_conv_embed.conv", "pos_conv.0"),
            ("pos_conv_embed.0", "pos_conv.0"),
            (".attention.", ".self_attn."),
            ("feed_forward.intermediate_dense", "fc1"),
            ("feed_forward.output_dense", "fc2"),
            ("masked_spec_embed", "mask_emb"),
        ]:
            name = name.replace(theirs, fairseq)
        renamed[re.sub(r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm", name)] = tensor
    return renamed


TASK = {"normalize": False, "sample_rate": 16000, "label_rate": 50.0}


def fairseq_config(model):
    config = model.config
    return {
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
        "extractor_mode": "default",
        "layer_norm_first": False,
        "conv_bias": False,
        "activation_fn": "gelu",
        "final_dim": 8,
        "label_rate": 50.0,
    }


def fairseq_weights(model):
    """The weights as fairseq saves a pretraining: its targets beside them."""
    extra = {"final_proj.weight": torch.ones(8, WIDTH), "final_proj.bias": torch.ones(8)}
    if model.config.model_type == "hubert":
        return fairseq_names(model.state_dict()) | extra | {"label_embs_concat": torch.ones(2, 8)}
    extra |= {"quantizer.vars": torch.ones(1, 4, 2), "project_q.weight": torch.ones(8, 8)}
    return fairseq_names(model.state_dict()) | extra


def save(content, path: Path, **options) -> str:
    torch.save(content, path, **options)
    return str(path)


def transformers_safetensors(model, folder):
    model.save_pretrained(folder / "hf")
    return TeacherConfig(model=str(folder / "hf"))


def transformers_bin(model, folder):
    model.save_pretrained(folder / "hf")
    (folder / "hf" / "model.safetensors").unlink()
    torch.save(old_names(model.state_dict()), folder / "hf" / "pytorch_model.bin")
    return TeacherConfig(model=str(folder / "hf"))


def transformers_ctc(model, folder):
    kind = model.config.model_type
    ctc = make_live(kind, "ForCTC", vocab_size=5)
    getattr(ctc, kind).load_state_dict(model.state_dict())
    ctc.save_pretrained(folder / "hf")
    assert f"{kind}.encoder.layer_norm.bias" in load_file(folder / "hf" / "model.safetensors")
    return TeacherConfig(model=str(folder / "hf"))


def s3prl_file(model, folder):
    """Loads strictly into s3prl's own model, which is asked for its opinion below."""
    register()
    if model.config.model_type == "hubert":
        from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

        theirs = HubertModel(HubertConfig(**fairseq_config(model)), HubertPretrainingConfig(**TASK), [["a", "b"]])
        name, config = "hubert_local", fairseq_config(model)
    else:
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

        config = {key: value for key, value in fairseq_config(model).items() if key != "label_rate"}
        theirs = Wav2Vec2Model(Wav2Vec2Config(**config, quantize_targets=True))
        name, config = "wav2vec2_local", config | {"quantize_targets": True}
    missing, unexpected = theirs.load_state_dict(fairseq_names(model.state_dict()), strict=False)
    targets = ("label_embs", "final_proj", "quantizer", "project_q")
    assert not unexpected and all(name.startswith(targets) for name in missing)
    content = {"task_cfg": TASK, "model_cfg": config, "model_weight": theirs.state_dict()}
    path = save(content | {"dictionaries_symbols": [["a", "b"]]}, folder / "s3prl.pt")
    return TeacherConfig(source="s3prl", model=name, ckpt=path)


def s3prl_file_read_by_us(model, folder):
    return TeacherConfig(source="fairseq", model=s3prl_file(model, folder).ckpt)


def torchaudio_file(model, folder):
    """torchaudio's own import, hence its own names."""
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    state = import_huggingface_model(model).state_dict()
    bundle = {"hubert": "HUBERT_BASE", "wav2vec2": "WAV2VEC2_BASE"}[model.config.model_type]
    return TeacherConfig(source="torchaudio", model=bundle, ckpt=save(state, folder / "torchaudio.pth"))


def torchaudio_file_old(model, folder):
    config = torchaudio_file(model, folder)
    state = old_names(torch.load(config.ckpt)) | {"aux.weight": torch.ones(3, WIDTH), "aux.bias": torch.ones(3)}
    save(state, Path(config.ckpt))
    return config


def fairseq_cfg(model, folder):
    cfg = {"task": TASK, "model": fairseq_config(model), "optimizer": None}
    path = save({"cfg": cfg, "args": None, "model": fairseq_weights(model)}, folder / "fairseq.pt")
    return TeacherConfig(source="fairseq", model=path)


def fairseq_args(model, folder):
    args = argparse.Namespace(**TASK | fairseq_config(model), arch="hubert")
    return TeacherConfig(
        source="fairseq", model=save({"args": args, "model": fairseq_weights(model)}, folder / "fairseq.pt")
    )


class Dictionary:
    """Of the kind fairseq puts into its files; unpickling it would write a file."""

    touched: Path

    def __reduce__(self):
        return Path.touch, (self.touched,)


def fairseq_objects(model, folder, **options):
    """args, and objects of classes that are not here; in torch's format before 1.6 too."""
    dictionary = Dictionary()
    dictionary.touched = folder / "touched"
    content = {
        "args": argparse.Namespace(**TASK | fairseq_config(model)),
        "model": fairseq_weights(model),
        "task_state": {"dictionaries": [dictionary]},
    }
    return TeacherConfig(source="fairseq", ckpt=save(content, folder / "fairseq.pt", **options))


def fairseq_objects_old_format(model, folder):
    return fairseq_objects(model, folder, _use_new_zipfile_serialization=False)


def fairseq_omegaconf(model, folder):
    OmegaConf = pytest.importorskip("omegaconf").OmegaConf
    cfg = OmegaConf.create({"task": TASK, "model": fairseq_config(model)})
    return TeacherConfig(
        source="fairseq", model=save({"cfg": cfg, "model": fairseq_weights(model)}, folder / "fairseq.pt")
    )


def fairseq_ctc(model, folder):
    """Fine-tuned: a wrapper around the names, the pretraining's config inside the fine-tuning's."""
    weights = {f"w2v_encoder.w2v_model.{name}": t for name, t in fairseq_names(model.state_dict()).items()}
    weights |= {"w2v_encoder.proj.weight": torch.ones(5, WIDTH), "w2v_encoder.proj.bias": torch.ones(5)}
    pretraining = {"task": TASK, "model": fairseq_config(model)}
    cfg = {"task": TASK, "model": {"w2v_args": pretraining, "normalize": "${task.normalize}"}}
    return TeacherConfig(source="fairseq", model=save({"cfg": cfg, "model": weights}, folder / "fairseq.pt"))


CONTAINERS = [
    transformers_safetensors,
    transformers_bin,
    transformers_ctc,
    s3prl_file,
    s3prl_file_read_by_us,
    torchaudio_file,
    torchaudio_file_old,
    fairseq_cfg,
    fairseq_args,
    fairseq_objects,
    fairseq_objects_old_format,
    fairseq_omegaconf,
    fairseq_ctc,
]


# --- the same layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("write", CONTAINERS, ids=lambda write: write.__name__)
def test_every_container_gives_the_live_models_layers(tmp_path, write, kind):
    model = make_live(kind)
    teacher = load_teacher(write(model, tmp_path))
    assert isinstance(teacher, HubertTeacher)
    assert (teacher.num_layers, teacher.width) == (LAYERS, WIDTH)
    assert not (tmp_path / "touched").exists()
    wav = torch.randn(1, 8321)
    for ours, live in zip(teacher(wav), live_layers(model, wav), strict=True):
        torch.testing.assert_close(ours, live, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "write",
    [write for write in CONTAINERS if write.__name__.startswith(("transformers_bin", "s3prl", "fairseq"))],
    ids=lambda write: write.__name__,
)
def test_heads_come_from_the_config(tmp_path, write):
    model = make_live(num_attention_heads=2 * HEADS)
    wav = torch.randn(1, 8321)
    for ours, live in zip(load_teacher(write(model, tmp_path))(wav), live_layers(model, wav), strict=True):
        torch.testing.assert_close(ours, live, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_s3prls_own_forward_agrees(tmp_path, kind):
    from s3prl import hub

    model = make_live(kind)
    config = s3prl_file(model, tmp_path)
    own = S3prlTeacher(config.model, getattr(hub, config.model)(ckpt=config.ckpt))
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    for ours, theirs in zip(load_teacher(config)(wavs, lengths), own(wavs, lengths), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


# --- refusals -------------------------------------------------------------------------------------------


def edit_weights(config: TeacherConfig, edit) -> TeacherConfig:
    """The same container with its weights changed."""
    path = Path(config.ckpt or config.model)
    if path.is_dir():
        state = load_file(path / "model.safetensors")
        edit(state)
        save_file(state, path / "model.safetensors", {"format": "pt"})
    else:
        content = torch.load(path)
        edit(content.get("model", content))
        torch.save(content, path)
    return config


@pytest.mark.parametrize("write", [transformers_safetensors, torchaudio_file, fairseq_cfg], ids=lambda w: w.__name__)
def test_a_weight_missing_left_over_or_of_another_shape(tmp_path, write):
    def name(state, ending):
        return next(name for name in state if re.search(rf"layers\.1\..*{ending}$", name))

    def other_shape(state):
        state[name(state, "final_layer_norm.bias")] = torch.ones(7)

    edits = [
        (lambda state: state.pop(name(state, "final_layer_norm.bias")), ["1 (layers.1.ffn_norm.bias) missing"]),
        (lambda state: state.pop(name(state, "k_proj.bias")), ["layers.1.attention.qkv.bias", "missing"]),
        (lambda state: state.update({"encoder.layers.1.fc9.bias": torch.ones(1)}), ["encoder.layers.1.fc9.bias"]),
        (lambda state: state.update({"layer_norm2.bias": torch.ones(1)}), ["1 (layer_norm2.bias) unexpected"]),
        (other_shape, ["layers.1.ffn_norm.bias", "(128,)", "(7,)"]),
    ]
    for i, (edit, words) in enumerate(edits):
        (tmp_path / str(i)).mkdir()
        refused(edit_weights(write(make_live(), tmp_path / str(i)), edit), *words)


def test_a_weight_under_two_names(tmp_path):
    def add(state):
        state["post_extract_proj.bias"] = state["feature_projection.projection.bias"].clone()

    refused(edit_weights(transformers_safetensors(make_live(), tmp_path), add), "once", "post_extract_proj.bias")


LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_a_large_type_from_transformers(tmp_path, kind):
    refused(transformers_safetensors(make_live(kind, **LARGE), tmp_path), "only Base types", "feat_extract_norm")


def test_a_large_type_from_torchaudio_whose_file_has_no_config(tmp_path):
    config = torchaudio_file(make_live(**LARGE), tmp_path)
    refused(config, "only Base types", "feature_extractor.conv_layers.0.conv.bias")


@pytest.mark.parametrize("change", [{"layer_norm_first": True}, {"extractor_mode": "layer_norm"}])
def test_a_large_type_from_fairseq(tmp_path, change):
    model = make_live()
    content = {"cfg": {"task": TASK, "model": fairseq_config(model) | change}, "model": fairseq_weights(model)}
    path = save(content, tmp_path / "large.pt")
    refused(TeacherConfig(source="fairseq", model=path), "only Base types", *change)


def test_a_fairseq_model_trained_on_normalised_waveforms(tmp_path):
    model = make_live()
    cfg = {"task": TASK | {"normalize": True}, "model": fairseq_config(model)}
    path = save({"cfg": cfg, "model": fairseq_weights(model)}, tmp_path / "normalized.pt")
    refused(TeacherConfig(source="fairseq", model=path), "normalize False, found True")


def test_a_config_that_does_not_name_the_heads(tmp_path):
    model = make_live()
    cfg = {"task": TASK, "model": {"layer_norm_first": False}}
    path = save({"cfg": cfg, "model": fairseq_weights(model)}, tmp_path / "headless.pt")
    refused(TeacherConfig(source="fairseq", model=path), "attention heads", "found none")


def test_a_fairseq_file_without_a_config(tmp_path):
    path = save({"cfg": None, "model": fairseq_weights(make_live())}, tmp_path / "bare.pt")
    refused(TeacherConfig(source="fairseq", model=path), "bare.pt", "expected a cfg or args")


def test_another_number_of_convolutions_than_strides(tmp_path):
    path = save({"feature_extractor.conv_layers.7.0.weight": torch.ones(32, 32, 2)}, tmp_path / "x.pth")
    state = torch.load(torchaudio_file(make_live(), tmp_path).ckpt) | torch.load(path)
    refused(TeacherConfig(source="fairseq", model=save(state, tmp_path / "x.pth")), "each of 8 convolutions")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing of the kind", ["truncated or not a PyTorch checkpoint"]),
        ({"epoch": 3, "states": {}}, ["expected fairseq's cfg and model", "found epoch, states"]),
        ({"weight": torch.ones(2, 2)}, ["expected the weights of HuBERT or wav2vec 2.0", "first: weight"]),
        ([torch.ones(1)], ["holding a dict, found list"]),
    ],
)
def test_a_wrong_file(tmp_path, content, words):
    path = tmp_path / "wrong.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    refused(TeacherConfig(source="fairseq", model=str(path)), str(path), *words)
    refused(TeacherConfig(source="torchaudio", model="HUBERT_BASE", ckpt=str(path)), str(path), *words)


def test_a_file_that_is_not_there(tmp_path):
    refused(TeacherConfig(source="fairseq", model=str(tmp_path / "no.pt")), "no.pt", "found none")
    refused(TeacherConfig(source="fairseq", model=str(tmp_path)), "found a folder")


def test_a_transformers_directory_without_weights_or_with_damaged_ones(tmp_path):
    config = transformers_safetensors(make_live(), tmp_path)
    weights = Path(config.model, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(config, "model.safetensors", "truncated")
    weights.unlink()
    refused(config, "expected model.safetensors or pytorch_model.bin")


def test_a_wavlm_short_of_a_weight(tmp_path):
    config = transformers_safetensors(make_live("wavlm"), tmp_path)
    edit_weights(config, lambda state: state.pop("encoder.layers.1.final_layer_norm.bias"))
    refused(config, "1 weights missing", "encoder.layers.1.final_layer_norm.bias")


def test_a_transformers_config_without_the_standard_strides(tmp_path):
    config = transformers_safetensors(make_live(), tmp_path)
    path = Path(config.model, "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}))
    refused(config, "total stride of 320", "160")
