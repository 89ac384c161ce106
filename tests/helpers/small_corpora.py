"""Corpora of noise in the layouts of SUPERB's tasks, each with a few utterances, for s3prl's runner."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from fithubert_upstream.corpora.layouts.iemocap import SESSIONS, prepare_iemocap
from fithubert_upstream.corpora.layouts.librimix import REFERENCE, SPLITS, TABLES
from fithubert_upstream.corpora.layouts.snips import FOLDERS, TABLE, prepare_snips
from fithubert_upstream.corpora.layouts.speech_commands import BACKGROUND, COMMANDS, TEST_CLASSES, speech_commands_part
from fithubert_upstream.corpora.layouts.voxceleb1 import IDENTIFICATION
from fithubert_upstream.downstream.asr import prepare_librispeech

WORDS = "THE CAT SAT ON THE MAT AND HAS A HAT".split()  # all in CMUdict


def noise(path: Path, seconds: float, seed: int, level: float = 0.3) -> Path:
    """White noise and a tone that depends on the seed, 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16000 * seconds)) / 16000
    signal = np.random.default_rng(seed).uniform(-level, level, len(time))
    soundfile.write(path, signal + level * np.sin(2 * np.pi * (200 + 50 * seed % 3000) * time), 16000)
    return path


def librispeech(root: Path, counts: dict[str, int] | None = None, prepared: bool = True) -> Path:
    """Utterances of 0.8 s and more in train, dev and test, and the tables of `fithubert prepare`."""
    for speaker, (split, count) in enumerate((counts or {"train": 6, "dev": 2, "test": 2}).items(), start=1):
        chapter = root / split / str(speaker) / "7"
        names = [f"{speaker}-7-{i:04d}" for i in range(count)]
        for i, name in enumerate(names):
            noise(chapter / f"{name}.flac", 0.8 + 0.1 * i, seed=10 * speaker + i)
        lines = [f"{name} {' '.join(WORDS[i : i + 3])}\n" for i, name in enumerate(names)]
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))
    if prepared:
        prepare_librispeech(root, progress=False)
    return root


def speech_commands(root: Path) -> Path:
    """Each command and one more word from a speaker of s3prl's train part and one of its dev part; a small test set."""
    names = [f"{i:08x}_nohash_0.wav" for i in range(100)]
    speakers = [next(name for name in names if speech_commands_part(Path(name)) == part) for part in ("train", "dev")]
    for i, word in enumerate((*COMMANDS, "bed")):
        for j, name in enumerate(speakers):
            noise(root / "train" / word / name, 0.4 + 0.02 * j, seed=2 * i + j)
    noise(root / "train" / BACKGROUND / "hiss.wav", 1.2, seed=90)
    for i, word in enumerate(TEST_CLASSES):
        noise(root / "test" / word / f"{i}.wav", 0.4, seed=50 + i)
    return root


def voxceleb1(root: Path) -> Path:
    """Three speakers with two sessions of one utterance of 2.4 s in each of dev and test; lists of nine trials.

    In the list of identification, each speaker's first utterance is for train, the second of dev's speakers for dev,
    that of test's for test.
    """
    listed = []
    for part, first in (("dev", 10001), ("test", 10101)):
        names = [f"id{first + speaker}/s{session}/00001.wav" for speaker in range(3) for session in range(2)]
        for i, name in enumerate(names):
            noise(root / part / "wav" / name, 2.4 + 0.05 * i, seed=first + i)
            listed.append(f"{1 if '/s0/' in name else 2 if part == 'dev' else 3} {name}\n")
        pairs = [(one, other) for one in names[::2] for other in names[1::2]]
        lines = [f"{int(one[:7] == other[:7])} {one} {other}\n" for one, other in pairs]
        (root / f"{part}_trials.txt").write_text("".join(lines))
    (root / IDENTIFICATION).write_text("".join(listed))
    return root


def fluent_commands(root: Path) -> Path:
    """Each of four intents by a speaker of train and one of each other split; 0.5 s and more."""
    intents = [("activate", "lights", "kitchen"), ("activate", "lamp", "none"), ("bring", "socks", "none")]
    intents.append(("increase", "volume", "kitchen"))
    (root / "data").mkdir(parents=True)
    for s, name in enumerate(("train", "valid", "test")):
        with (root / "data" / f"{name}_data.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["", "path", "speakerId", "transcription", "action", "object", "location"])
            for i, intent in enumerate(intents):
                path = f"wavs/speakers/s{s}/{name}-{i}.wav"
                noise(root / path, 0.5 + 0.05 * i, seed=10 * s + i)
                table.writerow([i, path, f"s{s}", "Do, please", *intent])
    return root


def iemocap(root: Path, prepared: bool = True) -> Path:
    """Each of five sessions with five labels of its dialogue, of which one is left out; 0.4 s and more."""
    labels = ("neu", "exc", "ang", "sad", "fru")
    for s, session in enumerate(SESSIONS, start=1):
        dialogue = f"Ses0{s}F_impro01"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"]
        for i, label in enumerate(labels):
            name = f"{dialogue}_F{i:03d}"
            noise(root / session / "sentences" / "wav" / dialogue / f"{name}.wav", 0.4 + 0.05 * i, seed=10 * s + i)
            lines.append(f"[{i}.0000 - {i}.5000]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]\nC-E1:\tNeutral;\t()\n\n")
        folder = root / session / "dialog" / "EmoEvaluation"
        folder.mkdir(parents=True)
        (folder / f"{dialogue}.txt").write_text("".join(lines))
    if prepared:
        prepare_iemocap(root, progress=False)
    return root


def snips(root: Path) -> Path:
    """Two speakers in each split, who say the same three sentences of 0.8 s and more, and the slots file."""
    said = [
        ("PLAY THE HAT", "O artist artist", "PlayMusic"),
        ("ADD CAT TO MAT", "O artist O playlist", "AddToPlaylist"),
        ("THE MAT SAT", "O O O", "Other"),
    ]
    lines = []
    for s, folder in enumerate(FOLDERS):
        for speaker in (f"Ann{s}", f"Bob{s}"):
            for i, (text, slots, intent) in enumerate(said):
                name = f"{speaker}-snips-{folder}-{i}"
                noise(root / folder / f"{name}.wav", 0.8 + 0.1 * i, seed=10 * s + i)
                lines.append(f"{name} BOS {text} EOS\tO {slots} {intent}\n")
    (root / TABLE).write_text("".join(lines))
    prepare_snips(root, progress=False)
    return root


def librimix(root: Path, count: int = 3) -> Path:
    """Recordings of two tones over noise, from 1.5 s, one tone for each speaker, who overlap."""
    for s, split in enumerate(SPLITS):
        lines: dict[str, list[str]] = {name: [] for name in (*TABLES, REFERENCE)}
        for i in range(count):
            name, seconds = f"{split}-{i}", 1.5 + 0.13 * i
            time = np.arange(round(16000 * seconds)) / 16000
            signal = np.random.default_rng([s, i]).normal(0, 0.01, len(time))
            lines["wav.scp"].append(f"{name} wav/{name}.wav\n")
            lines["reco2dur"].append(f"{name} {len(time) / 16000}\n")
            for speaker, start, end in (("a", 0.1, 0.62), ("b", 0.5, 1.0), ("a", 1.2, 1.44)):
                lines["segments"].append(f"{speaker}-{name}-{start} {name} {start} {end}\n")
                lines["utt2spk"].append(f"{speaker}-{name}-{start} {speaker}{s}\n")
                lines[REFERENCE].append(f"SPEAKER {name} 1 {start} {end - start:.2f} <NA> <NA> {speaker} <NA>\n")
                signal += (
                    0.2 * np.sin(2 * np.pi * (300 if speaker == "a" else 1700) * time) * (start <= time) * (time < end)
                )
            (root / split / "wav").mkdir(parents=True, exist_ok=True)
            soundfile.write(root / split / "wav" / f"{name}.wav", signal, 16000)
        for table, content in lines.items():
            (root / split / table).write_text("".join(content))
    return root


def quesst14(root: Path) -> Path:
    """Three queries of dev and three of eval, 0.3 s of tones, and six documents; half of the queries are in one."""
    lists = {"utterances": [f"Audio/doc_{i}" for i in range(6)]}
    for part in ("dev", "eval"):
        lists[part] = [f"{part}_queries/{part}_{i}" for i in range(3)]
    for k, (name, paths) in enumerate(lists.items()):
        for i, path in enumerate(paths):
            noise(root / f"{path}.wav", (0.8 if name == "utterances" else 0.3) + 0.05 * i, seed=10 * k + i)
        (root / "scoring").mkdir(exist_ok=True)
        lines = [f"quesst14Database/{path}.wav nnenglish\n" for path in paths]
        lines.append(f"quesst14Database/{paths[0]}_other.wav czech\n")  # s3prl leaves it out
        (root / "scoring" / f"language_key_{name}.lst").write_text("".join(lines))
    for part in ("dev", "eval"):
        folder = root / "scoring" / f"groundtruth_quesst14_{part}"
        folder.mkdir()
        terms = "".join(f'<term termid="{part}_{i}"><termtext>x</termtext></term>' for i in range(4))
        excerpts = "".join(f'<excerpt audio_filename="Audio/doc_{i}.wav" channel="1"/>' for i in range(8))
        (folder / f"quesst14_{part}.tlist.xml").write_text(f"<termlist>{terms}</termlist>")
        (folder / "quesst14.ecf.xml").write_text(f"<ecf>{excerpts}</ecf>")
        pairs = [(0, f"{part}_0"), (3, f"{part}_0"), (1, f"{part}_1"), (7, f"{part}_3")]
        lines = [f"LEXEME doc_{i} 1 0.00 0.10 {query} lex spk 0.5\n" for i, query in pairs]
        lines += ["SPKR-INFO doc_0 1 <NA> <NA> <NA> unknown spk <NA>\n", "LEXEME doc_2 1 0 1 NO_KEYWORD lex spk 0.5\n"]
        (folder / f"quesst14_{part}.rttm").write_text("".join(lines))
    return root


def words(root: Path, speakers: int = 6, spoken: tuple[str, ...] = ("cat", "mat", "hat"), takes: int = 2) -> Path:
    """Folders `speaker/word-take.flac`, a tone for each word and speaker; all trials of two words."""
    files = []
    for s in range(speakers):
        for w, word in enumerate(spoken):
            for take in range(takes):
                name = f"s{s + 1}/{word}-{take:02d}.flac"
                (root / f"s{s + 1}").mkdir(parents=True, exist_ok=True)
                time = np.arange(int(16000 * (0.3 + 0.01 * take))) / 16000
                hiss = np.random.default_rng([s, w, take]).normal(0, 0.02, len(time))
                tones = np.sin(2 * np.pi * (300 + 400 * w) * time) + np.sin(2 * np.pi * (2000 + 500 * s) * time)
                soundfile.write(root / name, 0.2 * tones + hiss, 16000)
                files.append(name)
    pairs = [(one, other) for one in files for other in files if one < other and word_of(one) != word_of(other)]
    lines = [f"{int(one.split('/')[0] == other.split('/')[0])} {one} {other}\n" for one, other in pairs]
    (root / "trials.txt").write_text("".join(lines))
    return root


def word_of(name: str) -> str:
    return Path(name).stem.rpartition("-")[0]


def joint_block(root: Path) -> dict:
    """The `downstream_expert` of a joint run on `words`: two speakers in each split."""
    speakers = {"train": ["s1", "s2"], "dev": ["s3", "s4"], "test": ["s5", "s6"]}
    shared = {"corpus": "words", "root": str(root), "speakers": speakers, "batch_size": 4, "crop_seconds": 0.2}
    sv = {**shared, "trials": str(root / "trials.txt"), "drawn_trials": 20, "embedding_dim": 8}
    return {"tasks": ["ks", "sv"], "num_workers": 0, "ks": {**shared, "classes": ["cat", "mat", "hat"]}, "sv": sv}
