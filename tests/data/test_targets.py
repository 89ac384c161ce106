import dataclasses

import pytest
import torch

from fithubert_upstream.data import targets as module
from fithubert_upstream.data.loader import DataConfig, build_dataloader, open_corpus
from fithubert_upstream.data.targets import Targets
from fithubert_upstream.distillation.train import main
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher

from ..helpers.tiny import make_corpus, make_teacher
from ..helpers.training import NO_DROPOUT, flags, losses


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus", utterances=10)
    return folder


@pytest.fixture(scope="module")
def teacher(world):
    return load_teacher(TeacherConfig(model=str(world / "teacher")))


@pytest.fixture(autouse=True)
def few_in_a_file(monkeypatch):
    monkeypatch.setattr(module, "UTTERANCES", 3)


def config(world, **settings) -> DataConfig:
    return DataConfig((str(world / "corpus"),), **{"batch_size": 2, "min_seconds": 0.0} | settings)


def computed(folder, world, teacher, layers=(1, 2)) -> Targets:
    targets = Targets(folder, open_corpus((str(world / "corpus"),), config(world)), teacher, layers)
    targets.compute(teacher)
    return targets


@pytest.mark.parametrize("crop_seconds", [0.55, float("inf")])
def test_a_crop_comes_with_its_stretch_of_the_whole_utterance(world, teacher, tmp_path, crop_seconds):
    loader = build_dataloader(config(world, crop_seconds=crop_seconds), seed=1)
    dataset = loader.dataset
    dataset.targets = [computed(tmp_path / "targets", world, teacher)]
    wholes = {index: dataset.corpus.load(index) for index in range(len(dataset.corpus))}
    for number, (waveforms, lengths, clean, (targets,)) in enumerate(loader):
        assert clean is None and targets.dtype == torch.float16
        assert targets.shape[:3] == (len(lengths), (waveforms.size(1) - 400) // 320 + 1, 2)
        for index, wav, found in zip(dataset.plan.batch(1, number).tolist(), waveforms, targets, strict=True):
            (start,) = [
                s for s in range(0, len(wholes[index]), 320) if torch.equal(wholes[index][s : s + len(wav)], wav)
            ]
            layers = torch.stack([layer[0] for layer in teacher(wholes[index][None])], 1)[start // 320 :][: len(found)]
            torch.testing.assert_close(found.float(), layers, atol=2e-3, rtol=1e-3)


def test_training_on_kept_targets_is_training_on_the_teacher(world, tmp_path):
    found = []
    for name, words in {"asked": [], "kept": [f"data.targets={tmp_path / 'targets'}"]}.items():
        main(flags(world, tmp_path / name, "data.crop=none", *words, student=NO_DROPOUT))
        found.append(losses(tmp_path / name))
    for asked, kept in zip(*found, strict=True):
        assert asked["loss"] == pytest.approx(kept["loss"], abs=1e-3)
        assert asked["valid"] == (kept["valid"] and pytest.approx(kept["valid"], abs=1e-3))
    assert sorted(path.name for path in (tmp_path / "targets").iterdir()) == ["train", "valid"]


def test_a_broken_off_computation_goes_on(world, teacher, tmp_path, monkeypatch):
    whole = computed(tmp_path / "whole", world, teacher)
    write, written = Targets._write, []

    def write_two(self, part, *others):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part)
        write(self, part, *others)

    monkeypatch.setattr(Targets, "_write", write_two)
    with pytest.raises(KeyboardInterrupt):
        computed(tmp_path / "broken", world, teacher)
    (tmp_path / "broken" / ".part-00003.safetensors.0123abcd.tmp").write_bytes(b"half of it")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken").glob("part*")}
    written.clear(), monkeypatch.setattr(Targets, "_write", write)
    again = computed(tmp_path / "broken", world, teacher)
    assert len(stamps) == 2 and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert len(list((tmp_path / "broken").iterdir())) == len(again) == 4
    for index in range(10):
        samples = len(again.corpus.load(index))
        assert torch.equal(again.load(index, 0, samples), whole.load(index, 0, samples))


def test_processes_share_the_work(world, teacher, tmp_path):
    whole = computed(tmp_path / "whole", world, teacher)
    for rank in range(2):
        Targets(tmp_path / "shared", whole.corpus, teacher, (1, 2)).compute(teacher, rank, 2)
    shared = Targets(tmp_path / "shared", whole.corpus, teacher, (1, 2))
    for index in range(10):
        samples = len(whole.corpus.load(index))
        assert torch.equal(shared.load(index, 0, samples), whole.load(index, 0, samples))


def test_some_of_the_layers_that_are_kept(world, teacher, tmp_path):
    both = computed(tmp_path / "targets", world, teacher)
    made = {path: path.stat().st_mtime_ns for path in both.folder.iterdir()}
    for layers in [(1,), (2,)]:
        some = computed(tmp_path / "targets", world, teacher, layers)
        assert made == {path: path.stat().st_mtime_ns for path in both.folder.iterdir()}
        samples = len(both.corpus.load(4))
        assert torch.equal(some.load(4, 0, samples), both.load(4, 0, samples)[:, [layers[0] - 1]])


def test_targets_of_others_are_refused(world, teacher, tmp_path):
    computed(tmp_path / "upper", world, teacher, layers=(2,))
    with pytest.raises(FitHubertError, match=r"expected targets of layers \[1, 2\], found those of another, \[2\]"):
        computed(tmp_path / "upper", world, teacher)
    computed(tmp_path / "targets", world, teacher)
    torch.manual_seed(5)
    make_teacher(tmp_path / "other")
    other = load_teacher(TeacherConfig(model=str(tmp_path / "other")))
    with pytest.raises(FitHubertError, match="expected targets of teacher .*other, found those of another, .*teacher"):
        computed(tmp_path / "targets", world, other)
    make_corpus(tmp_path / "more" / "corpus", utterances=11)
    with pytest.raises(FitHubertError, match="expected targets of utterances list of 11, found .* list of 10"):
        computed(tmp_path / "targets", tmp_path / "more", teacher)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_named(world, teacher, tmp_path, damage):
    computed(tmp_path / "targets", world, teacher)
    path = tmp_path / "targets" / "part-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"something else")
    with pytest.raises(FitHubertError, match=r"part-00001.safetensors: expected a teacher's targets.*remove it"):
        computed(tmp_path / "targets", world, teacher)


def test_a_recording_replaced_by_a_longer_one_is_noticed(world, teacher, tmp_path):
    targets = computed(tmp_path / "targets", world, teacher)
    with pytest.raises(FitHubertError, match="it was another recording"):
        targets.load(0, 0, 16000 * 60)


def test_layers_beyond_float16_are_refused(world, teacher, tmp_path):
    class Loud(type(teacher)):
        def forward(self, *arguments, **names):
            return [layer * 1e6 for layer in super().forward(*arguments, **names)]

    loud = Loud("loud", teacher.model)
    with pytest.raises(FitHubertError, match="expected layers within float16"):
        computed(tmp_path / "targets", world, loud)
    assert not list((tmp_path / "targets").iterdir())


def test_the_student_alone_hears_the_room(world):
    quiet, heard = (build_dataloader(config(world, augment=share), seed=1) for share in (0.0, 0.5))
    changed = 0
    for (plain, _, none, _), (waveforms, _, clean, _) in zip(quiet, heard, strict=True):
        assert none is None and torch.equal(plain, clean) and waveforms.shape == clean.shape
        changed += sum(not torch.equal(*pair) for pair in zip(waveforms, clean, strict=True))
    assert 0 < changed < 10
    fresh = [list(build_dataloader(config(world, augment=0.5), seed=1)) for _ in range(2)]
    assert all(torch.equal(one.waveforms, other.waveforms) for one, other in zip(*fresh, strict=True))
    valid = dataclasses.replace(config(world, augment=0.5), valid=(str(world / "corpus"),))
    assert all(batch.clean is None for batch in build_dataloader(valid, seed=1, split="valid"))
