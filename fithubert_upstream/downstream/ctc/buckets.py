"""Utterances as s3prl's CTC task loads them: one by one, or by buckets of about one length."""

from pathlib import Path

from torch.utils.data import Dataset

Item = tuple[Path, list[int]] | tuple[Path, list[int], str]  # audio file, tokens, and its name if not the file's


class Buckets(Dataset):
    """Utterances, longest transcript first.

    Parameters
    ----------
    items : list of Item
    bucket_size : int
        1: an item is one utterance. More: an item is a list of that many neighbours in order of length (fewer only if
        there are fewer utterances), so that a batch needs little padding.
    """

    def __init__(self, items: list[Item], bucket_size: int) -> None:
        # Longest first, so that what is too long for memory fails at once. Ties: by name.
        self.items: list[Item] = sorted(items, key=lambda item: (-len(item[1]), item[0].name))
        self.bucket_size = min(bucket_size, len(self.items))
        self.bucketing = bucket_size > 1

    def __len__(self) -> int:
        """The number of utterances; with buckets, one starts at each of them."""
        return len(self.items)

    def __getitem__(self, index: int) -> Item | list[Item]:
        if not self.bucketing:
            return self.items[index]
        start = min(index, len(self.items) - self.bucket_size)
        return self.items[start : start + self.bucket_size]
