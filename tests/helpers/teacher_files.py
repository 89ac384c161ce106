"""A live transformers model in every container that a teacher is read from."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fithubert_upstream import register
from fithubert_upstream.compat import torchaudio as torchaudio_compat
from fithubert_upstream.teachers.config import TeacherConfig

from .live_teachers import WIDTH, make_live

torchaudio_compat.mend_torchaudio_import()


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
