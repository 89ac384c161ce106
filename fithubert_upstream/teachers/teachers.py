"""Frozen teachers, from every container that their weights are published in.

Target l, counted from 1, is the output of the teacher's l-th transformer layer, after that layer's last norm:
index l - 1 of the list a teacher gives. It is `hidden_states[l]` of transformers and s3prl, whose index 0 is the
first layer's input, and index l - 1 of torchaudio's `extract_features`.

HuBERT Base and wav2vec 2.0 Base run as our own `FitHubert`, wherever their weights come from: one
implementation, which gives an utterance the same features alone and in any batch. WavLM and other models
run as their library has them, without padding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from ..audio import SAMPLE_RATE
from ..checkpoints import hubert
from ..checkpoints.load import load_fithubert
from ..checkpoints.speaker import load_speaker_encoder
from ..checkpoints.whisper import load_whisper
from ..errors import FitHubertError, from_extra
from ..models.lengths import FIRST_FRAME, FRAME_RATE
from ..models.speaker_encoder import WIDTH
from ..models.whisper import SHIFT
from .config import TeacherConfig
from .derived import GroupTeacher
from .teacher import HubertTeacher, Teacher

WHISPER_CONTEXT = 10 * SAMPLE_RATE

TRANSFORMERS_TYPES = ("hubert", "wav2vec2", "wavlm")
TORCHAUDIO_BUNDLES = ("HUBERT_BASE", "WAV2VEC2_BASE", "WAVLM_BASE", "WAVLM_BASE_PLUS")


class TransformersTeacher(Teacher):
    """A model of transformers as it is, from a directory or a hub id: what WavLM needs."""

    def __init__(self, model: str):
        super().__init__()
        _mend_torchaudio()
        with from_extra("distill", f"teacher {model}"):
            from transformers import AutoModel

        try:
            self.model, info = AutoModel.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise FitHubertError(
                f"teacher {model}: expected a transformers model, found: {_one_line(error)}"
            ) from error
        for kind in ("missing", "unexpected"):
            names = sorted(name for name in info[f"{kind}_keys"] if not hubert.is_unused(name))
            if names:
                raise FitHubertError(f"teacher {model}: {len(names)} weights {kind}, such as {names[0]}")
        self._freeze(model)

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        return list(self.model(waveforms, output_hidden_states=True).hidden_states[1:])


class TorchaudioTeacher(Teacher):
    """WavLM as torchaudio has it; from a `.pth` of its weights, else downloaded."""

    def __init__(self, bundle: str, ckpt: str | None):
        super().__init__()
        if ckpt is None:
            self.model = _torchaudio_bundle(bundle)
        else:
            _mend_torchaudio()
            import torchaudio

            self.model = torchaudio.models.wavlm_base()  # Base and Base+ differ in their training only
            weights, _ = hubert.read_file(ckpt)
            try:
                self.model.load_state_dict(weights)
            except RuntimeError as error:
                raise FitHubertError(f"{ckpt}: expected the weights of {bundle}, found: {_one_line(error)}") from error
        self._freeze(bundle)

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        return self.model.extract_features(waveforms, num_layers=depth)[0]


class S3prlTeacher(Teacher):
    """An upstream of s3prl as it is; its hidden_states must be a transformer's input and layers, as WavLM's."""

    def __init__(self, name: str, upstream: nn.Module):
        super().__init__()
        self.upstream = upstream
        self._freeze(name)

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        states = self.upstream(list(waveforms)).get("hidden_states", [])
        if len(states) < 2:
            raise FitHubertError(f"teacher {self.name}: expected hidden_states of several layers, found {len(states)}")
        return list(states[1:])


class WhisperTeacher(Teacher):
    """Whisper's encoder, on frames that are aligned with HuBERT's.

    Target l is layer l's output with each frame normalised to zero mean and unit variance: unnormalised, a few
    dimensions of the residual stream are a hundred times larger than the others. Whisper was trained on windows of
    30 s, and what follows an utterance has a say in its layers; with silence up to 10 s they are close to those of a
    whole window (docs/distillation.md).
    """

    def __init__(self, model: str):
        super().__init__()
        self.model = load_whisper(model)
        self._freeze(model)

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        frames = (waveforms.size(1) - FIRST_FRAME) // FRAME_RATE + 1
        size = max(frames * FRAME_RATE, WHISPER_CONTEXT)
        waveforms = nn.functional.pad(waveforms, (0, max(0, size + SHIFT - waveforms.size(1))))
        layers = self.model(waveforms[:, SHIFT : SHIFT + size], depth)[1:]
        return [nn.functional.layer_norm(layer[:, :frames], layer.shape[-1:]) for layer in layers]


class SpeakerTeacher(Teacher):
    """A speaker encoder; its one layer is the embedding of the utterance, (B, 1, 256)."""

    pooled = True

    def __init__(self, path: str):
        super().__init__()
        self.model = load_speaker_encoder(path)
        self.name, self.num_layers, self.width = path, 1, WIDTH
        self.requires_grad_(False).eval()

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        return [self.model(waveforms)[:, None]]


def load_teacher(config: TeacherConfig) -> Teacher:
    """The teacher a config names, frozen, in eval mode, in float32 on the CPU.

    Raises
    ------
    FitHubertError
        It is not there, its file is damaged, or it is none of the models that can be a teacher.
    """
    teacher = LOADERS[config.source](config)
    return teacher if config.groups is None else GroupTeacher(teacher, config.groups)


def _from_transformers(model: str) -> Teacher:
    _mend_torchaudio()
    with from_extra("distill", f"teacher {model}"):
        from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        raise FitHubertError(
            f"teacher {model}: expected a transformers directory or a hub id, found: {_one_line(error)}"
        ) from error
    kind = config["model_type"]
    if kind not in TRANSFORMERS_TYPES:
        raise FitHubertError(f"teacher {model}: expected a model of type {', '.join(TRANSFORMERS_TYPES)}, found {kind}")
    if kind == "wavlm":
        hubert.check_base(config, model)
        return TransformersTeacher(model)
    return HubertTeacher(model, *hubert.from_transformers(model, config))


def _from_s3prl(name: str, ckpt: str | None) -> Teacher:
    from ..upstream.hubconf import ENTRIES, register

    register()
    from s3prl import hub

    if name in ENTRIES:  # their hidden_states begin with layer 1
        raise FitHubertError(f"teacher {name}: is one of our own models; set source: fithubert")
    if not hasattr(hub, name):
        raise FitHubertError(f"teacher {name}: no such upstream on s3prl.hub, which has for example hubert_base")
    if ckpt is not None and not Path(ckpt).is_file():
        raise FitHubertError(f"teacher {name}: expected a checkpoint at {ckpt}, found none")
    try:
        upstream = getattr(hub, name)(**({} if ckpt is None else {"ckpt": ckpt}))
    except Exception as error:  # each upstream fails in its own way
        raise FitHubertError(
            f"teacher {name}: expected s3prl to build it{f' from {ckpt}' if ckpt else ''}, found: {_one_line(error)}"
        ) from error
    found = hubert.from_s3prl(upstream, name)
    return S3prlTeacher(name, upstream) if found is None else HubertTeacher(name, *found)


def _from_torchaudio(bundle: str, ckpt: str | None) -> Teacher:
    if bundle not in TORCHAUDIO_BUNDLES:
        raise FitHubertError(
            f"teacher {bundle}: expected a Base bundle of torchaudio, {', '.join(TORCHAUDIO_BUNDLES)}, found another"
        )
    if bundle.startswith("WAVLM"):
        return TorchaudioTeacher(bundle, ckpt)
    if ckpt is not None:
        return HubertTeacher(bundle, *hubert.from_file(ckpt))
    return HubertTeacher(bundle, *hubert.from_state(_torchaudio_bundle(bundle).state_dict(), {}, bundle))


def _from_fairseq(path: str) -> Teacher:
    return HubertTeacher(path, *hubert.from_file(path))


def _from_fithubert(name: str) -> Teacher:
    model = load_fithubert(name)
    if model.config.time_reduction != 1:
        raise FitHubertError(
            f"teacher {name}: expected a model of ours with time_reduction 1, found {model.config.time_reduction}; "
            "its layers would lack frames"
        )
    return HubertTeacher(name, model.keep_heads(()))


def _torchaudio_bundle(name: str) -> Any:
    """A model of `torchaudio.pipelines`, downloaded once."""
    _mend_torchaudio()
    import torchaudio

    try:
        return getattr(torchaudio.pipelines, name).get_model()
    except (OSError, RuntimeError) as error:
        raise FitHubertError(
            f"teacher {name}: expected to download it or find it in torch's hub folder; {_one_line(error)}; "
            "give its .pth as ckpt"
        ) from error


def _mend_torchaudio() -> None:
    from ..compat import torchaudio as torchaudio_compat

    torchaudio_compat.mend_torchaudio_import()  # transformers too imports torchaudio where it finds one


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."


# How each of `config.SOURCES` is loaded.
LOADERS: dict[str, Callable[[TeacherConfig], Teacher]] = {
    "transformers": lambda config: _from_transformers(config.model),
    "s3prl": lambda config: _from_s3prl(config.model, config.ckpt),
    "torchaudio": lambda config: _from_torchaudio(config.model, config.ckpt),
    "fairseq": lambda config: _from_fairseq(config.ckpt or config.model),
    "fithubert": lambda config: _from_fithubert(config.model),
    "whisper": lambda config: WhisperTeacher(config.model),
    "speaker": lambda config: SpeakerTeacher(config.model),
}
