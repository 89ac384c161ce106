"""The student as transformers and peft want it: linear layers under HuBERT's names, features out of `forward`."""

import torch
from torch import Tensor, nn

from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..models.layers import PositionalConv


class Student(FitHubert):
    """A `FitHubert` with queries, keys and values of linear layers of their own.

    `attention.qkv` holds `q_proj`, `k_proj` and `v_proj`, the `attention.v` of a layer that reuses a map `v_proj`, and
    `attention.out` `out_proj`: the names by which peft's users choose HuBERT's layers.
    """

    def __init__(self, config: FitHubertConfig):
        super().__init__(config)
        self.pos_conv = NamedPositionalConv(config.embed_dim, config.pos_conv_kernel, config.pos_conv_groups)
        for layer in self.layers:
            if layer.attention is not None:
                name_projections(layer.attention)

    def forward(
        self, waveforms: Tensor, lengths: Tensor | None = None, hidden_states: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Features at 20 ms, as `UpstreamExpert` gives them.

        Parameters
        ----------
        waveforms, lengths : what `encode` takes.
        hidden_states : whether they are asked for; else only the last head is computed.

        Returns
        -------
        `last_hidden_state` (B, L, D), zero past each utterance's end, and the hidden states, each (B, L, W), or None.
        """
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.size(1))
        projection, valid, padded = self.extract(waveforms, lengths)
        encoded = self.transform(projection, valid if padded else None)
        frames = self.frame_lengths(lengths)
        heads = dict(self.heads.items())
        if not (hidden_states and "heads" in self.config.hidden_states):
            heads = dict(list(heads.items())[-1:])
        projected = self.project(encoded, frames, heads)
        last = projected[-1] if projected else self.repeat(encoded._replace(layers=encoded.layers[-1:]), frames)[0]
        if not hidden_states:
            return last, None
        return last, tuple(self.hidden_states(projection, encoded, projected, frames))


class NamedPositionalConv(PositionalConv):
    """The positional convolution with other names, since transformers rename every `weight_g` and `weight_v`."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__(dim, kernel, groups)
        self.gain, self.direction = self._parameters.pop("weight_g"), self._parameters.pop("weight_v")

    @property
    def weight_g(self) -> Tensor:
        """(1, 1, K)"""
        return self.gain

    @property
    def weight_v(self) -> Tensor:
        """(D, D / groups, K)"""
        return self.direction


class Joined(nn.ModuleDict):
    """Linear layers side by side, as one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, W), the outputs in the order of the layers"""
        return torch.cat([linear(x) for linear in self.values()], dim=-1)


def name_projections(attention: nn.Module) -> None:
    """Put layers under HuBERT's names in the place of an attention's, which hold new weights."""
    for place, names in (("qkv", ("q_proj", "k_proj", "v_proj")), ("v", ("v_proj",)), ("out", ("out_proj",))):
        linear = attention._modules.get(place)
        if linear is not None:
            width = linear.out_features // len(names)
            parts = Joined({name: nn.Linear(linear.in_features, width) for name in names})
            for part in parts.values():
                nn.init.normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
            setattr(attention, place, parts)
