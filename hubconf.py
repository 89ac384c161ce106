"""Entries for `torch.hub.load(REPO, "fithubert_local", ckpt, source="local")`; see the package's hubconf."""

dependencies = ["torch", "s3prl", "safetensors", "yaml", "filelock"]

from fithubert_upstream.hubconf import (  # noqa: E402, F401
    fithubert,
    fithubert_100h,
    fithubert_960h,
    fithubert_local,
    fithubert_url,
    fitw2v2_960h,
)
