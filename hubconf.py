"""Entries for `torch.hub.load(REPO, "fithubert_mini", source="local")`; see the package's hubconf."""

dependencies = ["torch", "s3prl", "safetensors", "yaml", "filelock"]

from fithubert_upstream.upstream.hubconf import (  # noqa: E402, F401
    fithubert,
    fithubert_100h,
    fithubert_960h,
    fithubert_local,
    fithubert_mini,
    fithubert_url,
    fitw2v2_960h,
    hubert_mini,
    whisper_local,
)
