"""Where the authors publish their checkpoints, by the names under which this package offers them."""

from typing import NamedTuple

# Large Google Drive files come with a virus-scan page unless the download is confirmed.
GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id={}"
_ARM_CKPT = "https://huggingface.co/sungnyun/ARMHuBERT/resolve/main/{}.ckpt"
_ARM_YAML = "https://raw.githubusercontent.com/sungnyun/ARMHuBERT/e2b26872c23aa2075e888aae96df91f7653ffaec/conf/{}.yaml"
_DISTILHUBERT = "https://huggingface.co/leo19941227/distilhubert/resolve/main/distilhubert_ls960_4-8-12.ckpt"


class Release(NamedTuple):
    """A checkpoint, the yaml beside it where there is one, and what it is."""

    ckpt: str
    yaml: str | None
    about: str


def _drive(ckpt: str, yaml: str, about: str) -> Release:
    return Release(GOOGLE_DRIVE.format(ckpt), GOOGLE_DRIVE.format(yaml), about)


def _arm(ckpt: str, yaml: str, about: str) -> Release:
    return Release(_ARM_CKPT.format(ckpt), _ARM_YAML.format(yaml), about)


# From the READMEs of github glory20h/FitHuBERT and sungnyun/ARMHuBERT, and s3prl's upstream/distiller/hubconf.py. Not
# here: STaRHuBERT-S and -XS, for which the second has one address, and DPHuBERT, whose README has none.
RELEASES = {
    "fithubert_960h": _drive(
        "1Rq5QmEkXqwm0WK8axiMplN1rw-P8_ZQ6",
        "1LIK0JZsVO0i0W7C3jH7hguOuAuQnlsmN",
        "FitHuBERT distilled from HuBERT Base on LibriSpeech 960 h, the authors' release.",
    ),
    "fithubert_100h": _drive(
        "1eFJSrO5asnVtO3jv92Pj6bQ6dNzJXLWY",
        "1CzicuU9M_FHprfKcgCi2yBlR0zxo0bKJ",
        "FitHuBERT distilled from HuBERT Base on LibriSpeech 100 h, the authors' release.",
    ),
    "fitw2v2_960h": _drive(
        "1xsLoWBPRfzTHco68SB3CA6Vf2uUgyGaJ",
        "12ERkiSBU0bW3c8uP5w5cBoEqHA9p9snx",
        "The same student distilled from wav2vec 2.0 Base on LibriSpeech 960 h, the authors' release.",
    ),
    "distilhubert_960h": Release(_DISTILHUBERT, None, "DistilHuBERT, 960 h, s3prl's release, with its three heads."),
    "maskhubert_960h": _arm(
        "MaskHuBERT-960h", "maskhubert/maskhubert-960", "MaskHuBERT, 26.6 M, 960 h, the authors' release."
    ),
    "armhubert_960h": _arm(
        "ARMHuBERT-960h", "armhubert/armhubert-960", "ARMHuBERT, 26.4 M, 960 h, the authors' release."
    ),
    "armhubert_s_960h": _arm(
        "ARMHuBERT-S-960h", "armhubert/armhubert-s-960", "ARMHuBERT-S, 22.4 M, 960 h, the authors' release."
    ),
    "armhubert_s_100h": _arm(
        "ARMHuBERT-S-100h", "armhubert/armhubert-s-100", "ARMHuBERT-S, 22.4 M, 100 h, the authors' release."
    ),
    "armwavlm_s_960h": _arm(
        "ARMwavLM-S-960h", "armwavlm/armwavlm-s-960", "ARMwavLM-S, from WavLM Base, 960 h, the authors' release."
    ),
    "armwavlm_s_100h": _arm(
        "ARMwavLM-S-100h", "armwavlm/armwavlm-s-100", "ARMwavLM-S, from WavLM Base, 100 h, the authors' release."
    ),
    "starhubert_960h": _drive(
        "1Zu1idRx-sVaqMvRsUKtttzkSn4df6TUr",
        "1C6ZcYM4Fcxj0vurid5N02BAANj4smr8U",
        "STaRHuBERT, 22.3 M, the authors' release.",
    ),
    "starhubert_l_960h": _drive(
        "1La5jh0jPv-JCk2ECT2raRHtXMYYJNtsF",
        "1NpHhMVj7EE1Sx5eG3tX5fMCa4UUlrnwI",
        "STaRHuBERT-L, 26.6 M, the authors' release.",
    ),
}
