"""Spoken words out of sentences, in Speech Commands' layout: what a keyword spotter learns where clips are few.

    python examples/mini/mine_words.py mined LibriSpeech/train-clean-5 speechocean762

Each folder holds speakers at its first level, and `*.trans.txt` beside the recordings, as LibriSpeech. A linear CTC
head learns phones from hubert_mini's last layer on these very sentences and aligns them; each keyword is cut out and
centred in a second of silence. As many other words are taken, for `_unknown_`, as there are keywords.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm, trange

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.corpora.cmudict import entries
from fithubert_upstream.corpora.layouts.speech_commands import COMMANDS
from fithubert_upstream.files import atomic_path
from fithubert_upstream.models.lengths import FRAME_RATE

UPDATES, BATCH = 1500, 8
BLANK_PENALTY = 4.0  # in nats: CTC's blanks would leave words two frames long
BEFORE, AFTER = 3, 8  # frames kept around a word, as far as its neighbours leave them: CTC finds the middle of a phone
SHORTEST, LONGEST = 10, 50  # frames of a word
WORST = 0.15  # share of the words left out, those that fit their phones least
MOST = 60  # of a keyword: the longest, since words that are said in passing are hardly there
BEGINNINGS = {"STOPPED": "STOP", "STOPPING": "STOP", "STOPS": "STOP"}  # words that begin with a rare keyword


class Sentence(NamedTuple):
    speaker: str
    path: Path
    words: list[str]


class Word(NamedTuple):
    """A word in a sentence: its first frame, the frame after its last, and the mean log probability of its phones."""

    label: str
    start: int
    stop: int
    score: float


def read_sentences(folder: Path, said: dict[str, tuple[str, ...]]) -> Iterator[Sentence]:
    """Those of which the dictionary knows every word."""
    texts = {}
    for file in folder.rglob("*.trans.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, *words = line.split()
            texts[name] = words
    for path in find_audio(folder):
        words = texts.get(path.stem, [])
        if words and all(word in said for word in words):
            yield Sentence(f"{folder.name}/{path.relative_to(folder).parts[0]}", path, words)


def train_head(features: list[Tensor], phones: list[list[int]], symbols: int, seed: int = 0) -> nn.Module:
    """A CTC head on (L, D) features of each sentence."""
    torch.manual_seed(seed)
    head = nn.Sequential(nn.LayerNorm(features[0].size(1)), nn.Linear(features[0].size(1), symbols))
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    draw = np.random.default_rng(seed)
    for _ in trange(UPDATES, desc="Phones"):
        chosen = draw.choice(len(features), BATCH, replace=False).tolist()
        padded = nn.utils.rnn.pad_sequence([features[i].float() for i in chosen], batch_first=True)  # (B, L, D)
        loss = F.ctc_loss(
            head(padded).log_softmax(2).transpose(0, 1),  # (B, L, S) -> (L, B, S)
            torch.tensor([phone for i in chosen for phone in phones[i]]),
            torch.tensor([len(features[i]) for i in chosen]),
            torch.tensor([len(phones[i]) for i in chosen]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    return head.eval()


def align(scores: np.ndarray, phones: list[int]) -> np.ndarray | None:
    """The most probable CTC path of (L, S) log probabilities through `phones`, blank 0.

    Returns
    -------
    (L,) which of the phones each frame is, -1 where it is a blank; None where there are too few frames.
    """
    states = np.zeros(2 * len(phones) + 1, int)
    states[1::2] = phones
    emitted = scores[:, states]  # (L, 2 N + 1)
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[:2] = emitted[0, :2]
    steps = np.zeros(emitted.shape, int)
    for frame in range(1, len(emitted)):
        stay = best
        one = np.concatenate([[-np.inf], best[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf] * 2, best[:-2]]), -np.inf)
        ways = np.stack([stay, one, two])
        steps[frame] = ways.argmax(0)
        best = ways.max(0) + emitted[frame]
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    if not np.isfinite(best[state]):
        return None
    path = np.empty(len(emitted), int)
    for frame in range(len(emitted) - 1, -1, -1):
        path[frame] = state
        state -= steps[frame, state]
    return np.where(path % 2, path // 2, -1)


def find_words(
    scores: np.ndarray, sentence: Sentence, said: dict[str, tuple[str, ...]], number: dict[str, int]
) -> list[Word]:
    """Where each word of a sentence is, of (L, S) log probabilities."""
    phones = [number[phone] for word in sentence.words for phone in said[word]]
    penalty = np.zeros(scores.shape[1], np.float32)
    penalty[0] = BLANK_PENALTY
    path = align(scores - penalty, phones)
    if path is None:
        return []
    found = []
    begin = 0
    for word in sentence.words:
        label = BEGINNINGS.get(word, word)
        mine = np.flatnonzero((path >= begin) & (path < begin + len(said[label])))
        before, after = (path >= 0) & (path < begin), path >= begin + len(said[label])
        begin += len(said[word])
        start = max(mine[0] - BEFORE, np.flatnonzero(before).max(initial=-1) + 1)
        stop = min(mine[-1] + 1 + AFTER, np.flatnonzero(after).min(initial=len(path)))
        fit = scores[mine, [phones[path[frame]] for frame in mine]].mean()
        found.append(Word(label, int(start), int(stop), float(fit)))
    return found


def cut(waveform: np.ndarray, word: Word) -> np.ndarray:
    """One second with the word in its middle, its ends faded within 10 ms."""
    samples = waveform[word.start * FRAME_RATE : word.stop * FRAME_RATE][:SAMPLE_RATE].copy()
    ramp = np.linspace(0, 1, SAMPLE_RATE // 100, dtype=np.float32)
    samples[: len(ramp)] *= ramp
    samples[-len(ramp) :] *= ramp[::-1]
    left = (SAMPLE_RATE - len(samples)) // 2
    return np.pad(samples, (left, SAMPLE_RATE - len(samples) - left))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    args = parser.parse_args()

    said: dict[str, tuple[str, ...]] = {}
    for word, phones in entries():
        said.setdefault(word.upper(), tuple(phone.rstrip("012") for phone in phones))
    symbols = ["<blank>", *sorted({phone for phones in said.values() for phone in phones})]
    number = {symbol: i for i, symbol in enumerate(symbols)}
    sentences = [sentence for folder in args.folders for sentence in read_sentences(folder, said)]

    model = load_fithubert("hubert_mini")
    features = []
    for sentence in tqdm(sentences, "Features"):
        with torch.inference_mode():
            features.append(model.encode(load_any_waveform(sentence.path)[None]).layers[-1][0].half())  # (L, D)
    phones = [[number[phone] for word in sentence.words for phone in said[word]] for sentence in sentences]
    head = train_head(features, phones, len(symbols))

    commands = {command.upper() for command in COMMANDS}
    keywords: list[tuple[Sentence, Word]] = []
    others: list[tuple[Sentence, Word]] = []
    for sentence, layers in zip(tqdm(sentences, "Words"), features, strict=True):
        with torch.inference_mode():
            scores = head(layers.float()).log_softmax(1).numpy()  # (L, S)
        for word in find_words(scores, sentence, said, number):
            if SHORTEST <= word.stop - word.start <= LONGEST:
                (keywords if word.label in commands else others).append((sentence, word))
    limit = np.quantile([word.score for _, word in keywords], WORST)
    fitting = sorted(
        (pair for pair in keywords if pair[1].score >= limit), key=lambda pair: pair[1].start - pair[1].stop
    )
    kept = [pair for label in sorted(commands) for pair in [p for p in fitting if p[1].label == label][:MOST]]
    draw = np.random.default_rng(0).permutation(len(others))
    kept += [others[i] for i in draw if others[i][1].score >= limit][: len(kept)]
    counts: dict[str, int] = {}
    for sentence, word in tqdm(kept, "Cut"):
        speaker = hashlib.sha1(sentence.speaker.encode()).hexdigest()[:8]
        counts[word.label] = counts.get(word.label, 0) + 1
        folder = args.output / word.label.lower().replace("'", "")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / f"{speaker}_nohash_{counts[word.label]}.wav") as temporary:
            clip = cut(load_any_waveform(sentence.path).numpy(), word)
            soundfile.write(temporary, clip, SAMPLE_RATE, format="WAV")
    print(", ".join(f"{label.lower()} {counts.get(label, 0)}" for label in sorted(commands)))


if __name__ == "__main__":
    main()
