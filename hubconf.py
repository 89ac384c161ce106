"""Entries for `torch.hub.load(REPO, "fithubert_mini", source="local")`; see the package's hubconf."""

dependencies = ["torch", "s3prl", "safetensors", "yaml", "filelock"]

from fithubert_upstream.upstream.hubconf import ENTRIES as _entries  # noqa: E402

globals().update(_entries)
