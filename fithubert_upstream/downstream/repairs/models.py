"""What s3prl's downstream runner does not look at when it builds models: features, layers and weights that do not fit.

It takes another feature where the one of `-s` is not there, passes over `-l` where there are no layers, and leaves a
model as it was drawn where a checkpoint holds no weights for it.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...audio import SAMPLE_RATE
from ...checkpoints.torch_files import misfit
from ...compat.runs import replaced
from ...errors import FitHubertError

Frames = Callable[[int], int]  # samples of an utterance -> frames that the task gets of it


@contextlib.contextmanager
def checked_models(check_frames: Callable[[int, Frames], None]) -> Iterator[None]:
    """In the block, what s3prl's downstream runner builds must be what was asked for.

    Parameters
    ----------
    check_frames : callable
        Gets the samples to a frame of the chosen feature, and a function that tells how many frames an utterance
        of so many samples has; raises FitHubertError where that is too few for the task.
    """
    from s3prl.downstream import runner
    from s3prl.upstream.interfaces import Featurizer

    class Runner(runner.Runner):
        def _get_featurizer(self):
            upstream = self.upstream.model.eval()
            check_trainable(self.args, upstream)
            noise = torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                check_feature(self.args, upstream([noise.to(self.args.device)]))
            entry = super()._get_featurizer()

            @torch.no_grad()
            def frames(samples: int) -> int:
                wavs = [noise[:samples].repeat(-(-samples // SAMPLE_RATE))[:samples].to(self.args.device)]
                return len(entry.model(wavs, upstream(wavs))[0])

            check_frames(entry.model.downsample_rate, frames)
            return entry

        def _load_weight(self, model, name):
            if self.init_ckpt:
                load_fitting(model, self.init_ckpt, name, self.args)

    def at_least_one(self, paired_wavs, paired_feature):
        """s3prl rounds the frames of a very short utterance to none, of which a mean is NaN."""
        features = cut(self, paired_wavs, paired_feature)
        return [own if len(own) else whole[:1] for own, whole in zip(features, paired_feature, strict=True)]

    cut = Featurizer.tolist
    from s3prl import run_downstream

    with replaced(run_downstream, "Runner", Runner), replaced(Featurizer, "tolist", at_least_one):
        yield


def check_feature(args: argparse.Namespace, features: dict[str, Any]) -> None:
    """Raise FitHubertError unless an upstream's answer has the feature of `-s`, and the layer of `-l`."""
    key, layer = args.upstream_feature_selection, args.upstream_layer_selection
    feature = features.get(key)
    if isinstance(feature, dict):
        feature = list(feature.values())
    layers = list(feature) if isinstance(feature, (list, tuple)) else [feature]
    if not all(isinstance(one, Tensor) for one in layers):
        there = ", ".join(name for name in features if not name.startswith("_"))
        raise FitHubertError(f"-s {key}: -u {args.upstream} has no such feature; it has {there}")
    if layer is not None and not -len(layers) <= layer < len(layers):
        raise FitHubertError(f"-l {layer}: {key} has layers 0 to {len(layers) - 1}")
    for flag, is_given in (
        ("-l", layer is not None),
        ("--upstream_feature_normalize", args.upstream_feature_normalize),
    ):
        if is_given and not isinstance(feature, (list, tuple)):
            raise FitHubertError(
                f"{flag}: expected a feature of several layers, found -s {key}, which is one; leave it out"
            )
    if args.upstream_feature_normalize and (layer is not None or len(layers) == 1):
        raise FitHubertError("--upstream_feature_normalize: expected a sum of layers, found one layer; leave it out")


def check_trainable(args: argparse.Namespace, upstream: nn.Module) -> None:
    """Raise FitHubertError for `-f` with an upstream that has nothing to train."""
    if args.upstream_trainable and not any(p.requires_grad for p in upstream.parameters()):
        raise FitHubertError(f"-f: expected an upstream with weights to train, found -u {args.upstream}; leave it out")


def load_fitting(model: Any, states: dict[str, Any], name: str, args: argparse.Namespace) -> None:
    """Load an entry of a checkpoint into a model or optimizer that it fits.

    Raises
    ------
    FitHubertError
        It does not fit; both sides are named.
    """
    if name not in states and name in ("Upstream", "Scheduler", "Optimizer"):
        return  # a frozen upstream has its own; the others were looked for before
    then = states["Args"]
    here, there = (f"-d {run.downstream} -u {run.upstream} -s {run.upstream_feature_selection}" for run in (args, then))
    where = f"{args.init_ckpt}: {name} of {there} does not fit {here}"
    if isinstance(model, nn.Module):
        if found := misfit(model.state_dict(), states.get(name, {})):
            raise FitHubertError(f"{where}: {found}")
        print(f"[Runner] - Loading {name} weights from the previous experiment")
    try:
        model.load_state_dict(states[name])
    except (ValueError, KeyError, RuntimeError) as error:
        raise FitHubertError(f"{where}: {' '.join(str(error).split())[:160]}") from error
