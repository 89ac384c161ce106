"""The model card: README.md with tags, licence, base model, data sets and results that the Hub reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import assets
from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..runs.versions import VERSION

# What s3prl logs a task's test under -> the Hub's name of the task, ours, the Hub's name of the corpus, and its own.
TASKS = {
    "ctc-libriphone": ("automatic-speech-recognition", "Phone recognition", "librispeech_asr", "LibriSpeech"),
    "asr": ("automatic-speech-recognition", "Speech recognition", "librispeech_asr", "LibriSpeech"),
    "speech_commands": ("audio-classification", "Keyword spotting", "speech_commands", "Speech Commands"),
    "sv-voxceleb1": ("audio-classification", "Speaker verification", "voxceleb1", "VoxCeleb1"),
    "voxceleb1": ("audio-classification", "Speaker identification", "voxceleb1", "VoxCeleb1"),
    "fluent_commands": ("audio-classification", "Intent classification", "fluent_commands", "Fluent Speech Commands"),
    "emotion": ("audio-classification", "Emotion recognition", "iemocap", "IEMOCAP"),
    "ctc-snips": ("automatic-speech-recognition", "Slot filling", "audio_snips", "Audio SNIPS"),
    "diarization": ("voice-activity-detection", "Speaker diarization", "librimix", "LibriMix"),
    "quesst14_dtw": ("audio-classification", "Query by example", "quesst14", "QUESST 2014"),
}
METRICS = {"PER": "per", "WER": "wer", "acc": "accuracy", "EER": "eer", "F1": "f1", "DER": "der", "MTWV": "mtwv"}
EMBEDDED = {"license": "apache-2.0", "base_model": "openai/whisper-base", "datasets": ["librispeech_asr"]}

TEXT = """# {name}

{about}

| | |
|---|---|
| parameters | {parameters:,} |
| transformer | {layers} layers, {width} wide, a frame every {frame} ms |
| `last_hidden_state` | (B, L, {last}), a frame every 20 ms |
| `hidden_states` | {states} x (B, L, {state_width}), a frame every 20 ms |

## Use

```python
import torch
from transformers import AutoFeatureExtractor, AutoModel

name = "{name}"  # this folder, or its name on the Hub
extractor = AutoFeatureExtractor.from_pretrained(name)
model = AutoModel.from_pretrained(name, trust_remote_code=True)
inputs = extractor([torch.randn(16000).numpy()], sampling_rate=16000, padding=True, return_tensors="pt")
with torch.inference_mode():
    features = model(**inputs, output_hidden_states=True)
```

The input is 16 kHz mono audio in [-1, 1], not normalised. An utterance's features are the same alone and in a padded
batch with its `attention_mask`. `AutoModelForCTC` and `AutoModelForAudioClassification` add a new head to fine-tune.
With the package `fithubert_upstream` installed and imported, no `trust_remote_code` is needed.
{results}
Written by `fithubert export-hf` of fithubert-upstream {version}.
"""


@dataclass(frozen=True)
class Facts:
    """What a card says beside what the model tells of itself; empty where nobody said it."""

    license: str = ""
    base_model: str = ""
    datasets: tuple[str, ...] = ()
    results: tuple[Path, ...] = ()  # result.json of `fithubert superb`


def model_card(student: FitHubert, source: str, name: str, facts: Facts) -> str:
    """The text of README.md.

    Parameters
    ----------
    student : FitHubert
    source : str
        Where it is from, as `load_fithubert` takes it; of the embedded models licence, teacher and data are known.
    name : str
        The folder's name.
    facts : Facts

    Raises
    ------
    FitHubertError
        A result is none.
    """
    from huggingface_hub import EvalResult, ModelCardData

    config = student.config
    known: dict[str, Any] = dict(EMBEDDED) if source in assets.NAMES and not Path(source).exists() else {}
    known |= {
        key: value
        for key, value in (
            ("license", facts.license),
            ("base_model", facts.base_model),
            ("datasets", list(facts.datasets)),
        )
        if value
    }
    results = [read_result(path) for path in facts.results]
    data = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["fithubert", "hubert", "speech", "audio", "custom_code"],
        eval_results=[EvalResult(**result) for result in results] or None,
        **known,
    )
    text = TEXT.format(
        name=name,
        about=about(config, known.get("base_model", "")),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        layers=config.num_layers,
        width=config.embed_dim,
        frame=20 * config.time_reduction,
        last=config.head_dim if config.head_layers else config.state_dim,
        states=config.num_states,
        state_width=config.state_dim,
        results=result_table(results),
        version=VERSION,
    )
    return f"---\n{data.to_yaml().strip()}\n---\n\n{text}"


def about(config: FitHubertConfig, base_model: str) -> str:
    """One sentence on what the model is."""
    kind = "FitHuBERT" if config.time_reduction > 1 else "the FitHuBERT family's kind"
    teacher = f", distilled from {base_model}" if base_model else ""
    return f"A small speech encoder of {kind} ([Lee et al., 2022](https://arxiv.org/abs/2207.00555)){teacher}."


def read_result(path: Path) -> dict[str, Any]:
    """Fields of an `EvalResult` of a result.json. Raises FitHubertError for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        value, metric, logged = float(content["value"]), str(content["metric"]), list(content["logged"])
        tag = logged[0].partition("/")[0].partition("-fold")[0]
        task_type, task_name, dataset_type, dataset_name = TASKS[tag]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise FitHubertError(
            f"--result {path}: expected the result.json of a task of `fithubert superb`, found another file or none "
            f"({type(error).__name__}: {error})"
        ) from error
    unit = metric.partition(" ")[0]
    return {
        "task_type": task_type,
        "task_name": f"{task_name} on frozen features",
        "dataset_type": dataset_type,
        "dataset_name": f"{dataset_name}, {content.get('steps', 0)} updates, seed {content.get('seed', '?')}",
        "metric_type": METRICS.get(unit, unit.lower()),
        "metric_name": metric,
        "metric_value": round(value, 2),
    }


def result_table(results: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown; "" where there are none."""
    if not results:
        return ""
    rows = [f"| {r['task_name']} | {r['dataset_name']} | {r['metric_name']} | {r['metric_value']} |" for r in results]
    return "\n".join(["\n## Results\n", "| task | corpus | metric | value |", "|---|---|---|---:|", *rows, ""])
