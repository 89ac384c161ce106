"""Which teacher, and which of its layers."""

from dataclasses import dataclass

from ..errors import expect

SOURCES = ["transformers", "s3prl", "torchaudio", "fairseq", "fithubert", "whisper", "speaker"]


@dataclass(frozen=True)
class TeacherConfig:
    """Where the frozen teacher comes from.

    `source` says what `model` is:
    `transformers`: a directory, or a hub id such as facebook/hubert-base-ls960;
    `s3prl`: a name on `s3prl.hub` such as hubert_base; `ckpt`: the file that its *_local entries want;
    `torchaudio`: HUBERT_BASE, WAV2VEC2_BASE, WAVLM_BASE or WAVLM_BASE_PLUS; `ckpt`: its .pth, else downloaded;
    `fairseq`: a .pt of fairseq (in `model` or `ckpt`), which fairseq is not needed for;
    `fithubert`: a .safetensors of ours without time reduction, or the name of an embedded one;
    `whisper`: a transformers folder, a hub id such as openai/whisper-base, or a CTranslate2 model.bin (its parts with
    commas between);
    `speaker`: a speaker encoder's .pt, as Resemblyzer's pretrained.pt: one embedding of an utterance, which the mean
    over time of a student's layer learns. Not as the first of several.

    `layers`: which of its layers, counted from 1 and rising, the student's heads learn, one each; None for those of the
    same numbers as `head_layers`. `groups`: lists of its layers, each of which gives one layer to learn, their mean
    (SKILL); `layers` then counts groups, and its default is all of them. `weight`: of its loss, where there are several
    teachers. `heads`: the student's layers that learn from it, for any teacher but the first; None for `head_layers`.
    """

    source: str = "transformers"
    model: str = "facebook/hubert-base-ls960"
    ckpt: str | None = None
    layers: tuple[int, ...] | None = None
    weight: float = 1.0
    heads: tuple[int, ...] | None = None
    groups: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.groups is not None:
            self._check_groups()
        for name in ("layers", "heads"):
            given = getattr(self, name)
            ok = given is None or list(given) == sorted(set(given)) and min(given, default=0) >= 1
            expect(ok, f"{name} rising from 1 on", given)
        expect(0 < self.weight < float("inf"), "a weight above 0", self.weight)
        expect(self.source in SOURCES, f"teacher.source one of {', '.join(SOURCES)}", self.source)
        if self.source in ("transformers", "fithubert"):  # which would not read it
            expect(self.ckpt is None, f"the path in teacher.model, for source {self.source}", f"ckpt {self.ckpt}")

    def _check_groups(self) -> None:
        groups = self.groups or ()
        numbers = [layer for group in groups for layer in group]
        ok = all(groups) and numbers and min(numbers) >= 1 and len(set(numbers)) == len(numbers)
        expect(bool(ok), "groups, lists of layers from 1 on, each layer once", [list(group) for group in groups])
        if self.layers is None:
            object.__setattr__(self, "layers", tuple(range(1, len(groups) + 1)))  # how a frozen dataclass does it
