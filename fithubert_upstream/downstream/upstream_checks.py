"""What can be wrong with the upstream and the device of a run, told in one line before a model is built."""

import argparse
import difflib
import inspect
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import FitHubertError
from ..upstream.hubconf import ENTRIES, check_source
from .past_run import by_name


def check_upstream(args: argparse.Namespace, hub) -> None:
    """Raise FitHubertError unless -u is on s3prl's hub, and -k is there if it is a file."""
    if args.hub != "torch":  # -u is then a repository's name
        return
    if args.upstream is None:
        raise FitHubertError("-u: expected the name of an upstream, found none; give for example -u fithubert")
    if not callable(getattr(hub, args.upstream, None)):
        near = difflib.get_close_matches(args.upstream, hub.options(), n=3, cutoff=0.4)
        raise FitHubertError(f"-u {args.upstream}: no such upstream on s3prl.hub; nearest: {', '.join(near) or 'none'}")
    ckpt, config = args.upstream_ckpt, args.upstream_model_config
    for flag, value in (("-k", ckpt), ("-g", config)):
        by_its_name = "://" in str(value) or (flag == "-k" and by_name(args.upstream))
        if value is not None and not by_its_name and not Path(value).exists():
            raise FitHubertError(f"{flag} {value}: expected a file or a URL, found no such file; correct the path")
    if args.upstream in ENTRIES:
        check_source(args.upstream, ckpt, config, args.upstream_refresh)
    elif getattr(hub, args.upstream).__module__.startswith("s3prl."):
        _check_s3prl_source(args, getattr(hub, args.upstream))


def _check_s3prl_source(args: argparse.Namespace, entry: Callable) -> None:
    """By s3prl's names: *_local, *_url, *_gdriveid and *_custom take a checkpoint, others bring their own unseen."""
    name, parameters = args.upstream, inspect.signature(entry).parameters
    takes = name.endswith(("_local", "_url", "_gdriveid", "_custom"))
    takes_ckpt = name != "baseline_local" and (takes or "ckpt" in parameters)
    if takes_ckpt and args.upstream_ckpt is None:
        raise FitHubertError(f"-u {name}: expected -k beside it, found none")
    if name in ("baseline_local", "stft_mag") and args.upstream_model_config is None:
        raise FitHubertError(f"-u {name}: expected -g beside it, found none")
    if args.upstream_ckpt is not None and not takes_ckpt:
        raise FitHubertError(f"-k {args.upstream_ckpt}: expected none, since -u {name} brings its own; leave it out")
    if args.upstream_model_config is not None and not (takes or "model_config" in parameters):
        raise FitHubertError(f"-g {args.upstream_model_config}: expected none, since -u {name} does not read it")
    if args.upstream_refresh and (name.endswith("_local") or entry.__module__.startswith("s3prl.upstream.baseline.")):
        raise FitHubertError(f"-r: expected an upstream that is downloaded, found -u {name}; leave it out")


def check_device(name: str) -> None:
    """Raise FitHubertError unless --device is one that this machine and this torch have."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise FitHubertError(f"--device {name}: expected a device of this machine, found: {reason}") from None
