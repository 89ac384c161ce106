"""A student of torch as a function of numpy arrays."""

import numpy as np
import torch

from ..models.fithubert import FitHubert


class TensorFeatures:
    """What `OnnxFeatures` gives, from a student itself: (T,) samples -> named features, (L, D) or (N, L, D)."""

    def __init__(self, model: FitHubert):
        self.model = model.eval()

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        model, lengths = self.model, torch.tensor([len(waveform)])
        weight = model.encoder_norm.weight
        wav = torch.from_numpy(np.ascontiguousarray(waveform)).to(weight)[None]  # (1, T)
        projection, _, _ = model.extract(wav)
        encoded, frames = model.transform(projection), model.frame_lengths(lengths)
        projected = model.project(encoded, frames)
        states = model.hidden_states(projection, encoded, projected, frames)
        features = {"last_hidden_state": projected[-1] if projected else states[-1], "hidden_states": torch.cat(states)}
        if len(projected) > 1:
            features["projected_states"] = torch.cat(projected)
        features["last_hidden_state"] = features["last_hidden_state"][0]
        return {name: value.float().cpu().numpy() for name, value in features.items()}
