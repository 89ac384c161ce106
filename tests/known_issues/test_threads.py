"""Distillation in a thread, as a notebook or a server has it: `ValueError: signal only works in main thread`."""

import signal
import threading

from fithubert_upstream.distillation.train import main
from fithubert_upstream.runs.stop_signal import StopSignal

from ..helpers.tiny import make_corpus, make_teacher, write_configs


def in_thread(work):
    results = []

    def call():
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return results[0]


def test_handlers_stay_in_a_thread():
    before = [signal.getsignal(number) for number in StopSignal.SIGNALS]

    def handlers():
        with StopSignal() as stop:
            return stop.number, [signal.getsignal(number) for number in StopSignal.SIGNALS]

    assert in_thread(handlers) == (0, before)
    assert [signal.getsignal(number) for number in StopSignal.SIGNALS] == before


def test_a_handler_that_is_not_pythons(monkeypatch):
    before = [signal.getsignal(number) for number in StopSignal.SIGNALS]
    stop = StopSignal()
    with stop:
        stop.before = dict.fromkeys(stop.SIGNALS)  # what `signal` gives where C code set one
    assert [signal.getsignal(number) for number in StopSignal.SIGNALS] == [signal.SIG_DFL] * 2
    for number, handler in zip(StopSignal.SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_distillation_trains(tmp_path):
    make_teacher(tmp_path / "teacher"), make_corpus(tmp_path / "corpus")
    model, _ = write_configs(tmp_path, tmp_path / "teacher", tmp_path / "corpus")
    (tmp_path / "recipe.yaml").write_text(
        f"data: {{train: ['{tmp_path}/corpus'], batch_size: 2}}\ntrainer: {{steps: 2, save_every: 1}}\n"
    )
    words = ["-g", str(model), "-c", str(tmp_path / "recipe.yaml"), "-p", str(tmp_path / "run")]
    assert in_thread(lambda: main(words)) == tmp_path / "run" / "student.safetensors"
