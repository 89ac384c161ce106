"""The entries: what `torch.hub.load`, `s3prl.hub` and `run_downstream.py -u` call by name.

Each returns an `UpstreamExpert` and takes what s3prl's runner passes: ckpt, model_config, refresh.
"""

from .download import GOOGLE_DRIVE, fetch_checkpoint, is_url

# (checkpoint, yaml) of the authors' releases on Google Drive, from the README of github glory20h/FitHuBERT.
RELEASES = {
    "fithubert_960h": ("1Rq5QmEkXqwm0WK8axiMplN1rw-P8_ZQ6", "1LIK0JZsVO0i0W7C3jH7hguOuAuQnlsmN"),
    "fithubert_100h": ("1eFJSrO5asnVtO3jv92Pj6bQ6dNzJXLWY", "1CzicuU9M_FHprfKcgCi2yBlR0zxo0bKJ"),
    "fitw2v2_960h": ("1xsLoWBPRfzTHco68SB3CA6Vf2uUgyGaJ", "12ERkiSBU0bW3c8uP5w5cBoEqHA9p9snx"),
}


def fithubert(ckpt=None, model_config=None, refresh=False, **kwargs):
    """The student in `ckpt` (a path or URL); without one, the authors' 960 h release."""
    if ckpt is None:
        return fithubert_960h(refresh=refresh, **kwargs)
    if is_url(ckpt):
        return fithubert_url(ckpt, model_config, refresh, **kwargs)
    return fithubert_local(ckpt, model_config, **kwargs)


def fithubert_local(ckpt, model_config=None, **kwargs):
    """A student from a file: our .safetensors, a states-*.ckpt of `fithubert pretrain`, an official .ckpt with its
    .yaml as `model_config`, or an .onnx of `fithubert export`.

    But for an .onnx, `precision="bf16"`, `compile=True` and `chunk_seconds=30` say how it runs (`UpstreamExpert`).
    """
    if str(ckpt).endswith(".onnx"):
        from .errors import FitHubertError
        from .onnx_expert import OnnxExpert

        unfit = [name for name in ("precision", "compile", "chunk_seconds") if kwargs.get(name)]
        if unfit:
            raise FitHubertError(f"{ckpt}: expected no {' or '.join(unfit)}, which an ONNX file has settled already")
        return OnnxExpert(ckpt, **kwargs)
    from .expert import UpstreamExpert

    return UpstreamExpert(ckpt, model_config, **kwargs)


def fithubert_url(ckpt, model_config=None, refresh=False, sha256=None, **kwargs):
    """The same from a URL, downloaded once; `refresh` downloads again, `sha256` checks what arrived."""
    return fithubert_local(fetch_checkpoint(ckpt, model_config, refresh, sha256), **kwargs)


def fithubert_mini(**kwargs):
    """The small student inside the package, 1.3 M parameters, distilled from `hubert_mini`; needs no network."""
    return _embedded("fithubert_mini", **kwargs)


def hubert_mini(**kwargs):
    """The small HuBERT inside the package, 5.2 M parameters, pretrained on synthetic speech; needs no network."""
    return _embedded("hubert_mini", **kwargs)


def fithubert_960h(refresh=False, **kwargs):
    """FitHuBERT distilled from HuBERT Base on LibriSpeech 960 h, the authors' release."""
    return _release("fithubert_960h", refresh, **kwargs)


def fithubert_100h(refresh=False, **kwargs):
    """FitHuBERT distilled from HuBERT Base on LibriSpeech 100 h, the authors' release."""
    return _release("fithubert_100h", refresh, **kwargs)


def fitw2v2_960h(refresh=False, **kwargs):
    """The same student distilled from wav2vec 2.0 Base on LibriSpeech 960 h, the authors' release."""
    return _release("fitw2v2_960h", refresh, **kwargs)


ENTRIES = {
    entry.__name__: entry
    for entry in (
        fithubert,
        fithubert_local,
        fithubert_url,
        fithubert_mini,
        hubert_mini,
        fithubert_960h,
        fithubert_100h,
        fitw2v2_960h,
    )
}


def register() -> None:
    """Put the entries on `s3prl.hub`, after mending what keeps s3prl from importing. Safe to repeat."""
    from . import s3prl_compat

    s3prl_compat.apply()
    hub = s3prl_compat.import_hub()
    for name, entry in ENTRIES.items():
        setattr(hub, name, entry)


def _embedded(name, ckpt=None, model_config=None, refresh=False, **kwargs):
    """s3prl's runner passes ckpt, model_config and refresh to every entry; an embedded model brings its own."""
    from . import assets

    return fithubert_local(assets.find(name), **kwargs)


def _release(name, refresh, ckpt=None, model_config=None, **kwargs):
    """s3prl's runner passes ckpt and model_config to every entry; a release brings its own."""
    ckpt, model_config = (GOOGLE_DRIVE.format(file_id) for file_id in RELEASES[name])
    return fithubert_url(ckpt, model_config, refresh, **kwargs)
