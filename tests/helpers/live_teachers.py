"""Small teachers at random, as transformers has them."""

import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher

LAYERS, WIDTH, HEADS = 3, 128, 2  # torchaudio's file has no config: heads are 64 wide
CONV = {"conv_dim": [32] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}


def make_live(kind: str = "hubert", head: str = "Model", **changes):
    """A random transformers model in which no norm and no attention is trivial."""
    import transformers

    name = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[kind]
    options = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 96,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        **CONV,
    }
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}{head}")(getattr(transformers, f"{name}Config")(**options | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.ndim == 2:
                parameter.copy_(torch.randn_like(parameter) * 1.5 / parameter.size(1) ** 0.5)
    return model.eval()


def live_layers(model, wav: torch.Tensor) -> list[torch.Tensor]:
    """What each transformer layer of a live transformers model puts out."""
    outputs = []
    take = lambda module, args, output: outputs.append(output[0] if isinstance(output, tuple) else output)  # noqa: E731
    hooks = [layer.register_forward_hook(take) for layer in model.encoder.layers]
    with torch.no_grad():
        model(wav)
    for hook in hooks:
        hook.remove()
    return outputs


def refused(config: TeacherConfig, *words: str) -> None:
    with pytest.raises(FitHubertError) as caught:
        load_teacher(config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
