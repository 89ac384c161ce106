"""Small things that several tests need: a teacher, a corpus, configs."""

from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from fithubert_upstream.compat import torchaudio as torchaudio_compat
from fithubert_upstream.models.config import FitHubertConfig

STUDENT = {
    "conv_layers": "[(16, 10, 5)] + [(16, 1, 1)] + [(16, 3, 2)] * 4 + [(24, 1, 1)] + [(24, 2, 2)] * 2",
    "embed_dim": 32,
    "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
    "num_layers": 2,
    "ffn_dim": 32,
    "num_heads": 4,
    "head_dim": 24,
}

# What makes it a student of Kerpicci's kind, which begins as the first layer of `make_teacher`'s.
TWO_LAYER = {
    "conv_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
    "embed_dim": 24,
    "time_reduction": 1,
    "num_layers": 1,
    "head_kind": "prediction",
}


def make_teacher(folder: Path, kind: str = "hubert", width: int = 24, layers: int = 2, **config) -> Path:
    """A random transformers model of HuBERT Base's kind, 2 layers of width 24."""
    torchaudio_compat.mend_torchaudio_import()
    import transformers

    names = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}
    config = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        **config,
    }
    config = getattr(transformers, f"{names[kind]}Config")(**config)
    getattr(transformers, f"{names[kind]}Model")(config).save_pretrained(folder)
    return folder


def build_whisper(width: int = 24, layers: int = 3):
    """transformers' Whisper, random, in eval mode, with hardly a decoder."""
    torchaudio_compat.mend_torchaudio_import()
    import transformers

    torch.manual_seed(0)
    size = {"encoder_layers": layers, "encoder_attention_heads": 2, "encoder_ffn_dim": 40}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 40}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = transformers.WhisperConfig(d_model=width, num_mel_bins=80, **size, **decoder, **special)
    return transformers.WhisperForConditionalGeneration(config).eval()


def make_corpus(folder: Path, utterances: int = 8, rate: int = 16000) -> Path:
    """Noise of 0.6 to 1 s in LibriSpeech-like folders."""
    draw = np.random.default_rng(0)
    for i in range(utterances):
        path = folder / "train" / f"{i % 2}" / f"{i}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, draw.uniform(-0.5, 0.5, int(rate * draw.uniform(0.6, 1.0))), rate)
    return folder


def write_configs(
    folder: Path, teacher: Path, corpus: Path, student: dict | None = None, init_from_teacher: bool = False, **runner
):
    """(model yaml, runner yaml) for `fithubert pretrain`: 6 steps, a checkpoint each 3."""
    model, run = folder / "model.yaml", folder / "runner.yaml"
    content = {"student": STUDENT | (student or {}), "teacher": {"model": str(teacher)}, "loss": {}}
    model.write_text(yaml.safe_dump(content | {"init_from_teacher": init_from_teacher}))
    run.write_text(
        yaml.safe_dump(
            {
                "runner": {
                    "n_epochs": -1,
                    "total_steps": 6,
                    "gradient_accumulate_steps": 1,
                    "gradient_clipping": 5.0,
                    "log_step": 1,
                    "save_step": 3,
                    "max_keep": 5,
                    **runner,
                },
                "optimizer": {"name": "AdamW_with_schedule", "lr": 1e-3, "warmup_proportion": 0.1},
                "pretrain_expert": {"datarc": {"train": [str(corpus / "train")], "batch_size": 2}},
            }
        )
    )
    return model, run


# A FitHuBERT in all its parts.
SMALL = FitHubertConfig(
    conv_layers=((16, 10, 5), (16, 1, 1), *[(16, 3, 2)] * 4, (24, 1, 1), *[(24, 2, 2)] * 2),
    embed_dim=32,
    pos_conv_kernel=16,
    pos_conv_groups=4,
    num_layers=3,
    ffn_dim=32,
    num_heads=4,
    head_dim=40,
)

# Students whose layers differ in how they attend, after ARMHuBERT, DPHuBERT and DPWavLM.
ONE_RATE = STUDENT | {"time_reduction": 1, "num_layers": 3}
PRUNED = {"num_heads": [2, 0, 3], "head_width": 8, "ffn_dim": [20, 28, 0], "head_layers": [], "feature_scale": True}
POSITIONS = {"position_buckets": 16, "position_distance": 20, "kept_heads": [[1, 3], [], [0, 1, 2]]}
RELATIVES = {
    "reused maps": ONE_RATE | {"reuse_attention": [2, 3], "hidden_states": ["heads"]},
    "pruned layers": ONE_RATE | PRUNED | {"hidden_states": ["projection", "layers"], "feature_norm": False},
    "relative positions": ONE_RATE | PRUNED | POSITIONS | {"hidden_states": ["projection", "layers"]},
}
