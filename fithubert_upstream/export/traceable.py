"""The student in the form that is traced for ONNX."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.feature_extractor import limit_peaks
from ..models.fithubert import FitHubert
from ..models.kernels import norm_into_kernel, normed_conv
from ..models.layers import FrameUpsample, HintHead, PredictionHead
from ..models.lengths import FRAME_RATE, shortest_input, valid_mask


class TraceableFitHubert(nn.Module):
    """The student's features in one forward pass without a branch on lengths, which `torch.export` could not follow.

    Every waveform gets some zeros more, every utterance is taken to last `FitHubert.shortest` samples at least and
    everything is masked. What `layers` folds is folded for good, the positional convolution is an ordinary one, and
    the others are one matrix product each, which onnxruntime can quantize.
    """

    def __init__(self, model: FitHubert):
        super().__init__()
        self.model = model
        self.convs = nn.ModuleList(FrameConv(conv) for conv in list(model.feature_extractor.convs)[1:])
        source = model.pos_conv
        dim, _, kernel = source.weight_v.shape
        self.pos_conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=source.groups)
        norm = source.weight_v.norm(dim=(0, 1), keepdim=True)  # weight norm along the kernel
        self.pos_conv.weight = nn.Parameter((source.weight_v * (source.weight_g / norm)).detach())
        self.pos_conv.bias = nn.Parameter(source.bias.detach())
        self.heads = nn.ModuleDict({name: TraceableHead(head) for name, head in model.heads.items()})
        if model.config.time_reduction > 1:
            self.register_buffer("reduction", model.time_reduction.fold().detach())  # (r D, D)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """(B, T), (B,) -> what `export` says, in the order of `AXES`."""
        model, config = self.model, self.model.config
        batch, size = waveforms.shape
        rate = config.time_reduction
        reduced_size = size // (FRAME_RATE * rate) + 1  # M, enough for every frame
        padding = shortest_input(config.conv_layers, rate * reduced_size) - size
        waveforms = F.pad(limit_peaks(waveforms.masked_fill(~valid_mask(lengths, size), 0.0)), (0, padding))
        # `conv_frames` in one step: the strides of all convolutions multiply to FRAME_RATE.
        frames = ((lengths - shortest_input(config.conv_layers)) // FRAME_RATE + 1).clamp(min=1)
        valid = frames.clamp(min=rate)

        extractor = model.feature_extractor
        (_, kernel, stride), first = config.conv_layers[0], extractor.convs[0]
        normed = (lengths.clamp(min=model.shortest) - kernel) // stride + 1  # frames of the first convolution
        mean, weight = norm_into_kernel(waveforms, first.weight, stride, extractor.norm, normed)
        x = F.gelu(normed_conv(waveforms, mean, weight, stride, extractor.norm.bias))
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = model.project_features(x)  # (B, r M, D)
        projection = x = x.masked_fill(~valid_mask(valid, x.size(1))[:, :, None], 0.0)
        positions = self.pos_conv(x.transpose(1, 2))[:, :, : x.size(1)]  # an even kernel gives one frame too many
        x = model.encoder_norm(x + F.gelu(positions).transpose(1, 2))
        if rate > 1:
            x = x.reshape(batch, reduced_size, rate * config.embed_dim) @ self.reduction + model.time_reduction.bias

        reduced = valid // rate
        key_mask = valid_mask(reduced, reduced_size)[:, None, None]  # (B, 1, 1, M)
        handed = None if model.relative_positions is None else model.relative_positions(reduced_size)
        hidden = []
        for layer in model.layers:
            x, handed = layer(x, key_mask, handed)
            hidden.append(x)

        # `fit_frames`: frame t is a head's frame min(t, last) and a layer's min(t, last) // rate.
        longest = frames.max().item()
        index = torch.minimum(torch.arange(longest), rate * reduced[:, None] - 1)  # (B, L)
        utterance = torch.arange(batch)[:, None]
        mask = valid_mask(frames, longest)[:, :, None]  # (B, L, 1)

        def fit(x: Tensor, index: Tensor) -> Tensor:
            """(..., B, N, W) -> (..., B, L, W)"""
            rows = (utterance * x.size(-2) + index).flatten()
            return x.flatten(-3, -2).index_select(-2, rows).unflatten(-2, (batch, longest)) * mask

        hint = config.head_kind == "hint"
        projected = [
            fit(self.heads[str(layer)](hidden[layer - 1 if hint else -1]), index) for layer in config.head_layers
        ]
        parts = {
            "projection": lambda: fit(projection[None], index),
            "layers": lambda: fit(torch.stack(hidden), index // rate),
            "heads": lambda: torch.stack(projected),
        }
        states = torch.cat([parts[part]() for part in config.hidden_states])
        features = [projected[-1] if projected else states[-1], states]
        if len(projected) > 1:
            features.append(torch.stack(projected))
        return (*features, frames)


class FrameConv(nn.Module):
    """A convolution without padding as one matrix product over (B, L, C)."""

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.weight = nn.Parameter(conv.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous())  # (K C, D)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, (L - K) // stride + 1, D)"""
        batch, size, dim = x.shape
        frames = (size - self.kernel) // self.stride + 1
        whole = self.kernel - self.kernel % self.stride
        windows = [  # `stride` taps at a time, which lie side by side already
            x[:, tap : tap + frames * self.stride].reshape(batch, frames, self.stride * dim)
            for tap in range(0, whole, self.stride)
        ]
        windows += [x[:, tap :: self.stride][:, :frames] for tap in range(whole, self.kernel)]
        return torch.cat(windows, dim=2) @ self.weight


class TraceableHead(nn.Module):
    """A `HintHead` folded to one matrix product; a `PredictionHead` as it is."""

    def __init__(self, head: HintHead | PredictionHead):
        super().__init__()
        self.head = head
        self.rate = head.upsample.weight.size(2) if isinstance(head.upsample, FrameUpsample) else 1
        self.folded = isinstance(head, HintHead) and self.rate > 1
        if self.folded:
            weight, bias = head.fold()
            self.register_buffer("weight", weight.detach())  # (D, r W)
            self.register_buffer("bias", bias.detach())  # (W,)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, W)"""
        if not self.folded:
            return self.head(x)
        return (x @ self.weight).unflatten(2, (self.rate, -1)).flatten(1, 2) + self.bias
