"""Synthetic speakers in four moods, in the layout of IEMOCAP: a mood is pitch, its range, rate and loudness."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import write_text
from ..layouts.iemocap import EVALUATIONS, SESSIONS
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import WOMEN, Voice, all_voices
from .recordings import SAMPLE_RATE, random_conditions, say
from .sentences import random_sentence


@dataclass(frozen=True)
class Style:
    """How an emotion is spoken.

    Attributes
    ----------
    pitch, pitch_range : int
        Added to the voice's own, of eSpeak's 0 to 99.
    rate : float
        Times the voice's words per minute.
    peak : float
        Loudest sample.
    valence, activation, dominance : float
        1 to 5, as annotators would say.
    """

    pitch: int
    pitch_range: int
    rate: float
    peak: float
    valence: float
    activation: float
    dominance: float


STYLES = {
    "neu": Style(0, 0, 1.0, 0.4, 3.0, 2.5, 2.5),
    "hap": Style(14, 25, 1.1, 0.6, 4.0, 3.5, 3.0),
    "exc": Style(18, 30, 1.15, 0.7, 4.5, 4.0, 3.5),  # which SUPERB counts as happy
    "ang": Style(5, 15, 1.25, 0.95, 1.5, 4.0, 4.0),
    "sad": Style(-12, -30, 0.8, 0.2, 2.0, 2.0, 2.0),
}
SECONDS = 2.5  # of a recording, about
MOODS = ("neu", "hap", "ang", "sad")
DIALOGUE_SECONDS = SECONDS * 2 * len(MOODS)
LEAST_DIALOGUES = 2  # of a session
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


def plan_iemocap(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Speakers in four moods, in the layout of IEMOCAP.

    `SessionN/sentences/wav/<dialogue>/<dialogue>_<speaker><turn>.wav` (16 kHz, 16 bit, mono) are random sentences by
    the woman and the man of a session; `SessionN/dialog/EmoEvaluation/<dialogue>.txt` tells their times, emotions and
    ratings. In a dialogue each of the two speaks once in each mood: neutral, happy (every other time excited), angry
    and sad. The moods differ in pitch, range, rate and loudness, the same way for all; the words tell nothing.

    A dialogue takes about 20 s; each session has two at least.

    Parameters
    ----------
    minutes : dict
        `{"all": 20}` gives 12 dialogues in each of the five sessions.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has another name or is not positive.
    """
    parameters = describe("iemocap", VERSION, minutes, seed)
    if set(minutes) != {"all"}:
        raise FitHubertError(f"expected minutes of all, found {', '.join(minutes) or 'none'}")
    shuffled = cast_voices({"all": len(all_voices())}, seed)["all"]
    women = [voice for voice in shuffled if voice.name.partition("+")[2] in WOMEN]
    men = [voice for voice in shuffled if voice not in women]
    speakers = {name: [women[n], men[n]] for n, name in enumerate(SESSIONS)}
    count = max(LEAST_DIALOGUES, round(60 * minutes["all"] / (len(SESSIONS) * DIALOGUE_SECONDS)))
    pieces = [
        Piece(DIALOGUE_SECONDS, partial(_write_dialogue, name, pair, number, seed))
        for name, pair in speakers.items()
        for number in range(count)
    ]
    return Corpus(parameters, speakers, pieces)


def styled(voice: Voice, style: Style, generator: np.random.Generator) -> Voice:
    """A voice in a mood, a little different each time."""
    pitch, pitch_range, rate = generator.normal(0, (2, 3, 4))
    return replace(
        voice,
        pitch=int(np.clip(voice.pitch + style.pitch + pitch, 0, 99)),
        pitch_range=int(np.clip(voice.pitch_range + style.pitch_range + pitch_range, 0, 99)),
        rate=int(voice.rate * style.rate + rate),
    )


def _write_dialogue(session: str, pair: list[Voice], number: int, seed: int, root: Path) -> None:
    """Write the n-th dialogue of a session, of one room and microphone; it is called after the woman or the man."""
    dialogue = f"Ses0{session[-1]}{'FM'[number % 2]}_impro{number // 2 + 1:02d}"
    generator = np.random.default_rng([seed, int(session[-1]), number])
    conditions = random_conditions(generator)
    turns = [(speaker, mood) for mood in range(len(MOODS)) for speaker in range(2)]
    lines, seconds = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"], 0.0
    for turn, (speaker, mood) in enumerate(generator.permutation(turns)):
        draw = np.random.default_rng([seed, int(session[-1]), number, turn])
        label = "exc" if MOODS[mood] == "hap" and (number + speaker) % 2 else MOODS[mood]
        style = STYLES[label]
        name = f"{dialogue}_{'FM'[speaker]}{turn:03d}"
        speech = np.pad(say(random_sentence(draw), styled(pair[speaker], style, draw), draw), SAMPLE_RATE // 8)
        heard = replace(conditions, peak=style.peak * draw.uniform(0.85, 1.05)).apply(speech, draw)
        path = root / session / "sentences" / "wav" / dialogue / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, heard, SAMPLE_RATE, subtype="PCM_16")
        end = seconds + len(heard) / SAMPLE_RATE
        rating = f"{style.valence:.4f}, {style.activation:.4f}, {style.dominance:.4f}"
        lines.append(f"[{seconds:.4f} - {end:.4f}]\t{name}\t{label}\t[{rating}]\n\n")
        seconds = end
    write_text(root / session / EVALUATIONS / f"{dialogue}.txt", "".join(lines))
