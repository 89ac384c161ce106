"""The entries: what `torch.hub.load`, `s3prl.hub` and `run_downstream.py -u` call by name.

Each returns an `UpstreamExpert` and takes what s3prl's runner passes: ckpt, model_config, refresh.
"""

from ..checkpoints.download import fetch_checkpoint, is_url
from ..checkpoints.load import locate
from ..checkpoints.releases import RELEASES
from ..errors import FitHubertError, refuse_unknown


def fithubert(ckpt=None, model_config=None, refresh=False, **options):
    """The student in `ckpt` (a path or URL); without one, the authors' 960 h release."""
    if ckpt is None:
        check_source("fithubert", ckpt, model_config, refresh)
        return ENTRIES["fithubert_960h"](refresh=refresh, **options)
    if is_url(ckpt):
        return fithubert_url(ckpt, model_config, refresh, **options)
    return fithubert_local(ckpt, model_config, refresh, **options)


def fithubert_local(ckpt, model_config=None, refresh=False, **options):
    """A student from a file: our .safetensors, a states-*.ckpt of `fithubert pretrain`, an official checkpoint of the
    family (a Lightning .ckpt with its .yaml as `model_config`, DistilHuBERT's .ckpt, DPHuBERT's or DPWavLM's .pth), or
    an .onnx of `fithubert export`.

    But for an .onnx, `precision="bf16"`, `compile=True` and `chunk_seconds=30` say how it runs (`UpstreamExpert`).
    """
    from .expert import RUN_OPTIONS, UpstreamExpert

    check_source("fithubert_local", ckpt, model_config, refresh)
    refuse_unknown("fithubert_local", options, (*RUN_OPTIONS, "model_config"))
    if not str(ckpt).endswith(".onnx"):
        return UpstreamExpert(ckpt, model_config, **options)
    from .onnx_expert import OnnxExpert

    settled = {**options, "model_config (-g)": model_config}
    unfit = [name for name, value in settled.items() if value]
    if unfit:
        raise FitHubertError(f"{ckpt}: {' and '.join(unfit)} cannot be chosen: export fixes them; leave them out")
    return OnnxExpert(ckpt)


def fithubert_url(ckpt, model_config=None, refresh=False, sha256=None, **options):
    """The same from a URL, downloaded once; `refresh` downloads again, `sha256` checks what arrived."""
    check_source("fithubert_url", ckpt, model_config, refresh)
    _check_options("fithubert_url", options, "model_config", "refresh", "sha256")
    return fithubert_local(fetch_checkpoint(ckpt, model_config, refresh, sha256), **options)


def fithubert_mini(**options):
    """The small student inside the package, 2.2 M parameters, distilled from Whisper base and a speaker encoder."""
    return _embedded("fithubert_mini", **options)


def hubert_mini(**options):
    """The small HuBERT inside the package, 5.3 M parameters, distilled from Whisper base and a speaker encoder."""
    return _embedded("hubert_mini", **options)


def whisper_local(ckpt, model_config=None, refresh=False, **options):
    """A Whisper encoder to compare with: a folder of transformers, a CTranslate2 model.bin or a folder with one."""
    from .whisper_expert import WhisperExpert

    check_source("whisper_local", ckpt, model_config, refresh)
    refuse_unknown("whisper_local", options, ())
    if model_config is not None:
        raise FitHubertError(f"whisper_local: expected no model_config (-g), found {model_config}; leave it out")
    return WhisperExpert(ckpt)


def _release_entry(name):
    """The entry of a release: s3prl's runner passes ckpt and model_config to every entry; a release brings its own."""

    def entry(refresh=False, ckpt=None, model_config=None, sha256=None, **options):
        check_source(name, ckpt, model_config, refresh)
        _check_options(name, options, "refresh", "sha256")
        return fithubert_local(*locate(name, None, refresh, sha256), **options)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = RELEASES[name].about
    return entry


ENTRIES = {
    entry.__name__: entry
    for entry in (
        fithubert,
        fithubert_local,
        fithubert_url,
        fithubert_mini,
        hubert_mini,
        *map(_release_entry, RELEASES),
        whisper_local,
    )
}


def register() -> None:
    """Add the entries to `s3prl.hub`, after applying the fixes that importing s3prl needs. Can be repeated."""
    from ..compat import s3prl as s3prl_compat

    s3prl_compat.apply()
    hub = s3prl_compat.import_hub()
    for name, entry in ENTRIES.items():
        setattr(hub, name, entry)


def check_source(name, ckpt=None, model_config=None, refresh=False):
    """Raise FitHubertError for what an entry of ours would leave unread of what s3prl's runner passes to each."""
    default = name == "fithubert" and ckpt is None  # the 960 h release
    brings_own = default or name in (*RELEASES, "fithubert_mini", "hubert_mini")
    for word, value in (("ckpt (-k)", ckpt), ("model_config (-g)", model_config)):
        if brings_own and value is not None:
            raise FitHubertError(
                f"{name}: expected no {word}, since the model comes with its own, found {value}; "
                f"{'give a ckpt (-k) too' if default else 'fithubert_local (-u) takes a file'}"
            )
    if name in ("fithubert_local", "fithubert_url", "whisper_local") and ckpt is None:
        raise FitHubertError(f"{name}: expected a ckpt (-k), found none; fithubert_mini (-u) needs none")
    downloads = default or name in (*RELEASES, "fithubert_url") or (name == "fithubert" and is_url(ckpt))
    if refresh and not downloads:
        raise FitHubertError(f"{name}: expected no refresh (-r), since nothing is downloaded; leave it out")


def _check_options(name, options, *more):
    from .expert import RUN_OPTIONS

    refuse_unknown(name, options, (*RUN_OPTIONS, *more))


def _embedded(name, ckpt=None, model_config=None, refresh=False, **options):
    """s3prl's runner passes ckpt, model_config and refresh to every entry; an embedded model brings its own."""
    check_source(name, ckpt, model_config, refresh)
    _check_options(name, options)
    return fithubert_local(*locate(name), **options)
