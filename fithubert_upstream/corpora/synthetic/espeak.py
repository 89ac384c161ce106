"""Speech from text with eSpeak NG, the library inside the `espeakng-loader` package, called by ctypes."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from ...errors import FitHubertError, from_extra

ESPEAK_RATE = 22050

# From espeak-ng/speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
PHONEME_EVENTS = 1
EVENT_PHONEME, EVENTS_END = 7, 0
CHARS_UTF8 = 1
POS_CHARACTER = 1
PARAMETER_RATE, PARAMETER_PITCH, PARAMETER_RANGE = 1, 3, 4

# eSpeak's voice variants that sound like people, and clearly unlike each other.
WOMEN = ("f1", "f2", "f3", "f4", "f5", "belinda", "linda", "Alicia", "Annie", "steph", "shelby", "grandma")
MEN = ("m1", "m3", "m4", "m5", "m7", "m8", "Alex", "Reed", "adam", "david", "paul", "klatt3")
ACCENTS = ("en", "en-us-nyc", "en-gb-scotland", "en-029", "en-gb-x-rp")  # "en" is British English


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Attributes
    ----------
    speaker : int
        The number it goes by in a corpus.
    name : str
        eSpeak's language and variant, e.g. "en-us+f3".
    pitch, pitch_range : int
        0 to 99, 50 is the variant's own.
    rate : int
        Words per minute.
    """

    speaker: int
    name: str
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 165


def all_voices() -> list[Voice]:
    """The 72 speakers: each variant low with some accent, as it is, and high; two thirds are American."""
    voices = []
    for i, variant in enumerate(v for pair in zip(WOMEN, MEN, strict=True) for v in pair):
        own = (i * 7) % 15 - 7  # many variants share one fundamental; this moves them apart
        styles = ((ACCENTS[i % len(ACCENTS)], 28, 40, 150), ("en-us", 50, 50, 165), ("en-us", 72, 65, 178))
        for accent, pitch, pitch_range, rate in styles:
            speaker = 103 + 37 * len(voices)
            voices.append(Voice(speaker, f"{accent}+{variant}", pitch + own, pitch_range, rate + own))
    return voices


@cache
def library_paths() -> tuple[str, bytes]:
    """The library's file and its data; MissingPackage without the extra `synth`."""
    with from_extra("synth", "speech synthesis"):
        import espeakng_loader
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),  # of a phoneme: its name
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Phone(NamedTuple):
    """A phone as eSpeak names it, and when it begins, in seconds; an empty name is a pause."""

    name: str
    start: float


def speak(text: str, voice: Voice, seed: int = 0) -> np.ndarray:
    """Say a text.

    The library is loaded for each call and unloaded after it (7 ms in all): the phases of its pitch
    flutter and its noise live in variables that nothing else resets, and an utterance must not depend
    on those before it; for the same reason the seed goes to the C library's `srand`, too. Where the
    process holds the library in another way, this cannot be so.

    Parameters
    ----------
    text : str
        English, one sentence.
    voice : Voice
    seed : int
        Of eSpeak's breath noise.

    Returns
    -------
    np.ndarray
        (T,) float32 in [-1, 1] at 22050 Hz, without silence at its ends.

    Raises
    ------
    FitHubertError
        eSpeak has no such voice, or says nothing.
    """
    return speak_phones(text, voice, seed)[0]


def speak_phones(text: str, voice: Voice, seed: int = 0) -> tuple[np.ndarray, list[Phone]]:
    """`speak`, and the phones it said, each up to the start of the next."""
    path, data = library_paths()
    parts: list[np.ndarray] = []
    phones: list[Phone] = []

    @_CALLBACK
    def collect(samples, count, events):
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        number = 0
        while events and events[number].type != EVENTS_END:
            if events[number].type == EVENT_PHONEME:
                phones.append(Phone(events[number].id.decode(), events[number].audio_position / 1000))
            number += 1
        return 0

    library = ctypes.CDLL(path)
    try:
        if library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, PHONEME_EVENTS) != ESPEAK_RATE:
            raise FitHubertError(f"eSpeak NG does not start at {ESPEAK_RATE} Hz: reinstall espeakng-loader")
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))  # the breath of Klatt voices such as Reed is its rand()
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise FitHubertError(f"expected an eSpeak NG voice such as en-us+f3, found {voice.name!r}")
        library.espeak_SetParameter(PARAMETER_RATE, voice.rate, 0)
        library.espeak_SetParameter(PARAMETER_PITCH, voice.pitch, 0)
        library.espeak_SetParameter(PARAMETER_RANGE, voice.pitch_range, 0)
        data = text.encode() + b"\0"
        size, start, end, flags = ctypes.c_size_t(len(data)), *map(ctypes.c_uint, (0, 0, CHARS_UTF8))
        library.espeak_Synth(data, size, start, POS_CHARACTER, end, flags, None, None)
        library.espeak_Synchronize()
    finally:
        library.espeak_Terminate()
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    if not any(part.any() for part in parts):
        raise FitHubertError(f"eSpeak NG says nothing for {text!r} with {voice.name}: give it words")
    return np.concatenate(parts).astype(np.float32) / 32768, phones
