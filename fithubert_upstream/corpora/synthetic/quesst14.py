"""Synthetic spoken queries and documents in the layout of QUESST 2014: one word, and sentences that hold it or not."""

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import atomic_path, write_text
from ..layouts.quesst14 import DOCUMENTS, ENGLISH, QUERIES, list_of, truth_folder
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice
from .recordings import SAMPLE_RATE, random_conditions, say, vary
from .sentences import WORDS, random_sentence

DOCUMENT_SECONDS, QUERY_SECONDS = 2.5, 0.8  # about
DOCUMENTS_OF_A_VOICE = 8
DOCUMENTS_PER_QUERY = 4  # of each split
FEWEST_QUERIES = 6
SHORTEST = 6  # letters of a query: shorter words are parts of others
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1
_FOLDERS = {"dev": "dev_queries", "test": "eval_queries"}
_PARTS = {"dev": "dev", "test": "eval"}  # how the corpus names s3prl's splits


def plan_quesst14(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Queries and documents in the layout of QUESST 2014.

    `Audio/quesst14_<number>.wav` (16 kHz, 16 bit, mono) are sentences; `dev_queries` and `eval_queries` hold single
    words of at least six letters, by other voices and in other rooms, one query for every four documents in each of
    dev and eval. Each document got one of all these words in the place of a noun. It holds a query if one of its words
    is or begins with it ("orange" is in "oranges"). `scoring` has the lists and the ground truth, in which times are 0:
    nothing reads them.

    Parameters
    ----------
    minutes : dict
        `{"documents": 4}` gives 96 documents, and 24 queries in each of dev and eval.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive, or asks for more queries than there are words.
    """
    parameters = describe("quesst14", VERSION, minutes, seed)
    if set(minutes) != {"documents"}:
        raise FitHubertError(f"expected minutes of documents, found {', '.join(minutes) or 'none'}")
    count = max(4, round(60 * minutes["documents"] / DOCUMENT_SECONDS))
    queries = _queries(max(FEWEST_QUERIES, round(count / DOCUMENTS_PER_QUERY)), seed)
    wanted = {split: len(words) / 2 for split, words in reversed(queries.items())}
    speakers = cast_voices(wanted | {"documents": count / DOCUMENTS_OF_A_VOICE}, seed)
    sentences = _sentences(count, queries, seed)
    pieces = []
    for number, sentence in enumerate(sentences):
        voice = speakers["documents"][number % len(speakers["documents"])]
        path = f"Audio/{_document(number)}.wav"
        pieces.append(Piece(DOCUMENT_SECONDS, partial(_write, path, sentence, voice, [seed, 0, number])))
    for split, words in queries.items():
        for number, word in enumerate(words):
            voice = speakers[split][number % len(speakers[split])]
            draw = [seed, 1 + list(QUERIES).index(split), number]
            path = f"{_FOLDERS[split]}/{_query(split, number)}.wav"
            pieces.append(Piece(QUERY_SECONDS, partial(_write, path, word, voice, draw)))
        pieces.append(Piece(0, partial(_write_truth, split, words, sentences)))
    pieces.append(Piece(0, partial(_write_lists, queries, len(sentences))))
    return Corpus(parameters, speakers, pieces)


def _document(number: int) -> str:
    return f"quesst14_{number + 1:05d}"


def _query(split: str, number: int) -> str:
    return f"quesst14_{_PARTS[split]}_{number + 1:04d}"


def _queries(count: int, seed: int) -> dict[str, list[str]]:
    """The words of each split, none of them in both."""
    nouns = [word for word in WORDS["noun"] if len(word) >= SHORTEST]
    if 2 * count > len(nouns):
        most = len(nouns) // 2 * DOCUMENTS_PER_QUERY * DOCUMENT_SECONDS / 60
        raise FitHubertError(f"expected at most {most:.0f} minutes of documents, for which there are words enough")
    drawn = np.random.default_rng([seed, 3]).permutation(len(nouns))[: 2 * count]
    words = [nouns[k] for k in drawn]
    return {"dev": words[:count], "test": words[count:]}


def _sentences(count: int, queries: dict[str, list[str]], seed: int) -> list[str]:
    """One for each document, with a query of one split in the place of a noun."""
    generator = np.random.default_rng([seed, 4])
    words = [word for pair in zip(*queries.values(), strict=True) for word in pair]
    found = []
    for number in range(count):
        places: list[int] = []
        while not places:
            sentence = random_sentence(generator).split()
            places = [k for k, word in enumerate(sentence) if word in WORDS["noun"]]
        sentence[places[generator.integers(len(places))]] = words[number % len(words)]
        found.append(" ".join(sentence))
    return found


def holds(sentence: str, query: str) -> bool:
    """Whether a word of the sentence is the query, or begins with it."""
    return any(word.startswith(query) for word in sentence.split())


def _write(path: str, text: str, voice: Voice, draw: list[int], root: Path) -> None:
    generator = np.random.default_rng(draw)
    speech = say(text, vary(voice, generator), generator)
    before, after = generator.integers(SAMPLE_RATE // 20, SAMPLE_RATE // 5, size=2)
    audio = random_conditions(generator).apply(np.pad(speech, (before, after)), generator)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / path, audio, SAMPLE_RATE, subtype="PCM_16")


def _write_lists(queries: dict[str, list[str]], documents: int, root: Path) -> None:
    names = {DOCUMENTS: [f"Audio/{_document(number)}" for number in range(documents)]}
    for split, words in queries.items():
        names[QUERIES[split]] = [f"{_FOLDERS[split]}/{_query(split, number)}" for number in range(len(words))]
    for name, paths in names.items():
        write_text(list_of(root, name), "".join(f"quesst14Database/{path}.wav {ENGLISH}\n" for path in paths))


def _write_truth(split: str, words: list[str], sentences: list[str], root: Path) -> None:
    folder, part = truth_folder(root, split), _PARTS[split]
    terms = ElementTree.Element("termlist", ecf_filename="quesst14.ecf.xml", language="english", version="1")
    for number, word in enumerate(words):
        term = ElementTree.SubElement(terms, "term", termid=_query(split, number))
        ElementTree.SubElement(term, "termtext").text = word
    excerpts = ElementTree.Element("ecf", source_signal_duration="0.000", language="english", version="1")
    lines = []
    for number, sentence in enumerate(sentences):
        name = _document(number)
        ElementTree.SubElement(
            excerpts, "excerpt", audio_filename=name, channel="1", tbeg="0.000", dur="0.000", source_type="splitcts"
        )
        said = [_query(split, k) for k, word in enumerate(words) if holds(sentence, word)]
        lines += [f"LEXEME {name} 1 0.000 0.000 {query} lex spk 0.5\n" for query in said]
    for name, element in ((f"quesst14_{part}.tlist.xml", terms), ("quesst14.ecf.xml", excerpts)):
        ElementTree.indent(element)
        with atomic_path(folder / name) as temporary:
            ElementTree.ElementTree(element).write(temporary, encoding="UTF-8", xml_declaration=True)
    write_text(folder / f"quesst14_{part}.rttm", "".join(lines))
