import torch

from fithubert_upstream.distillation.log import Stopwatch, TrainLog, draw_losses, peak_memory, read_losses


def row(step: int, valid: float | None = None) -> dict:
    return {"step": step, "loss": 1 / step, "layer_1": 0.1, "layer_2": 0.2, "valid": valid, "lr": 1e-3} | {
        "hours_per_hour": 3.0
    }


def test_rows_of_a_break_are_replaced(tmp_path):
    log = TrainLog(tmp_path, errors=["layer_1", "layer_2"], step=0, steps=4)
    rows = [row(1), row(2, 0.5), row(3)]
    for entry in rows:
        log.add(entry)
    log.close()
    assert read_losses(tmp_path / "losses.csv") == rows
    log = TrainLog(tmp_path, errors=["layer_1", "layer_2"], step=2, steps=4)
    assert read_losses(tmp_path / "losses.csv") == rows[:2]
    log.add(row(3, 0.25))
    assert read_losses(tmp_path / "losses.csv") == [*rows[:2], row(3, 0.25)]  # there as soon as it is written
    log.close()
    assert list((tmp_path / "tensorboard").glob("*tfevents*"))


def test_the_picture(tmp_path):
    assert draw_losses(tmp_path).read_bytes()[:4] == b"\x89PNG"  # of no rows
    log = TrainLog(tmp_path, errors=["layer_1", "layer_2"], step=0, steps=2)
    log.add(row(1, 0.3))
    log.close()
    empty = (tmp_path / "losses.png").stat().st_size
    assert draw_losses(tmp_path).stat().st_size > empty
    assert {p.name for p in tmp_path.iterdir()} == {"losses.csv", "losses.png", "tensorboard"}


def test_losses_below_zero_and_other_columns(tmp_path, monkeypatch):
    log = TrainLog(tmp_path, errors=["layer_1", "layer_2", "sparsity"], step=0, steps=2, job="prune")
    log.add(row(1) | {"sparsity": 0.5})
    log.add(row(2) | {"loss": -0.75, "sparsity": 0.6})
    log.close()
    pictures = []
    monkeypatch.setattr("fithubert_upstream.distillation.log.save", lambda picture, path: pictures.append(picture))
    draw_losses(tmp_path)
    (axes,) = pictures[0].axes
    assert axes.get_ylim()[0] == -0.75 and len(axes.lines) == 3


def test_stopwatch_counts_all_processes(monkeypatch):
    now = iter([0.0, 2.0, 10.0, 20.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = Stopwatch()
    watch.add(10)
    assert watch.row(processes=2) == 10 * 2 / 2
    watch.add(4)
    assert watch.row(processes=1) == 4 / 8
    assert watch.total(processes=1) == 14 / 20


def test_peak_memory_is_in_gibibytes():
    assert 0.05 < peak_memory(torch.device("cpu")) < 64  # an imported torch; a wrong unit is out by 1024
