"""Several runs at once: each part is done once, whoever starts it, and the table waits for all."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
import submitit

from fithubert_upstream import cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.running import starters
from fithubert_upstream.superb.running.crew import Crew, follow
from fithubert_upstream.superb.running.launch import Launch, parse_options
from fithubert_upstream.superb.running.starters import LocalStarter, SlurmStarter
from fithubert_upstream.superb.running.work import Work

from ...helpers.counting_jobs import CountingJob, fake_slurm


class Debug:
    """submitit's debug executor: a job runs in this process when its end is asked for."""

    poll, patience = 0.0, 0.0

    def __init__(self, folder):
        self._executor = submitit.DebugExecutor(folder)
        self.running, self.most = 0, 0
        self.slots = Counter()

    def start(self, work, slot):
        self.slots[slot] += 1
        return self._executor.submit(work)

    def left_over(self, work):
        return None


def jobs_in(folder, count=3, **about):
    return {f"job {number}": CountingJob(folder / str(number), **about) for number in range(count)}


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_all_parts_once_and_the_choice_last(tmp_path, at_once):
    jobs, results = jobs_in(tmp_path), []
    starter = Debug(tmp_path / "jobs")
    follow(jobs, starter, at_once, lambda: results.append(1))
    assert all(job.log() == ["a", "b", "choose"] for job in jobs.values()) and results
    assert max(starter.slots) + 1 == (at_once or 6)
    follow(jobs, Debug(tmp_path / "jobs"), at_once)  # nothing is left to do
    assert all(len(job.log()) == 3 for job in jobs.values())


def test_a_failure_stops_nothing_else(tmp_path):
    jobs = {"bad": CountingJob(tmp_path / "bad", fails="b"), **jobs_in(tmp_path, 2)}
    with pytest.raises(FitHubertError, match="^bad, b: b is broken$"):
        follow(jobs, Debug(tmp_path / "jobs"), 1)
    assert jobs["bad"].log() == ["a", "b"] and all(jobs[f"job {n}"].result_file.is_file() for n in range(2))
    mended = {"bad": CountingJob(tmp_path / "bad")}
    follow(mended, Debug(tmp_path / "jobs"), 1)
    assert mended["bad"].log() == ["a", "b", "b", "choose"] and not list(tmp_path.rglob("*.error"))


def test_any_error_is_told_in_one_line(tmp_path, capsys):
    class Broken(CountingJob):
        def run_part(self, name):
            raise RuntimeError("no\nsuch thing")

    work = Work("x", Broken(tmp_path / "x"), "a")
    work()
    assert work.failure() == "RuntimeError: no such thing" and "Traceback" in capsys.readouterr().err


def test_two_processes_share_a_part(tmp_path):
    """Whoever comes second waits its turn, sees that the part is done, and does nothing."""
    job = CountingJob(tmp_path / "job", seconds=0.3)
    work = Work("x", job, "a")
    threads = [threading.Thread(target=work) for _ in range(3)]
    [thread.start() for thread in threads]
    time.sleep(0.1)
    assert work.is_running()
    [thread.join() for thread in threads]
    assert job.log() == ["a"] and work.is_done() and not work.is_running()


@pytest.mark.slow
def test_local_processes(tmp_path):
    jobs = jobs_in(tmp_path, 1)
    follow(jobs, LocalStarter(tmp_path / "jobs", 2), 2)
    assert all(sorted(job.log()[:2]) == ["a", "b"] and job.log()[2:] == ["choose"] for job in jobs.values())


@pytest.mark.slow
def test_what_a_killed_command_has_started_is_followed(tmp_path):
    """Its processes go on; the next command does not start the same again."""
    code = (
        "import os\nfrom pathlib import Path\nfrom tests.helpers.counting_jobs import CountingJob\n"
        "from fithubert_upstream.superb.running.starters import LocalStarter\n"
        "from fithubert_upstream.superb.running.work import Work\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "starter = LocalStarter(folder / 'jobs', 2)\n"
        "handles = [starter.start(Work('x, ' + part, CountingJob(folder / 'x', 3.0), part), 0) for part in 'ab']\n"
        "while not (folder / 'x' / 'log').is_file() or len((folder / 'x' / 'log').read_text()) < 4: pass\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    job = CountingJob(tmp_path / "x")
    assert not (job.folder / "a.done").is_file()
    follow({"x": job}, LocalStarter(tmp_path / "jobs", 2), 2)
    assert sorted(job.log()) == ["a", "b", "choose"]


@pytest.mark.slow
def test_slurm(tmp_path, monkeypatch):
    notes = fake_slurm(tmp_path, monkeypatch)
    monkeypatch.setattr(SlurmStarter, "poll", 0.1)
    jobs = jobs_in(tmp_path / "out", 1)
    follow(jobs, SlurmStarter(tmp_path / "jobs", {"partition": "gpu", "time": 30}), None)
    assert all(sorted(job.log()[:2]) == ["a", "b"] and job.log()[2:] == ["choose"] for job in jobs.values())
    assert len((notes / "submitted").read_text().split()) == 3
    script = next(path for path in (tmp_path / "jobs").glob("*submission.sh")).read_text()
    assert "#SBATCH --partition=gpu" in script and "#SBATCH --time=30" in script


def test_jobs_of_slurm_are_not_submitted_twice(tmp_path, monkeypatch):
    """The command was killed after it had submitted them; they wait in the queue and hold no lock."""
    notes = fake_slurm(tmp_path, monkeypatch)
    monkeypatch.setattr(SlurmStarter, "poll", 0.1)
    job = CountingJob(tmp_path / "out")
    started = SlurmStarter(tmp_path / "jobs", {})
    monkeypatch.setenv("BASH_ENV", "")
    (notes / "bin" / "srun").write_text("#!/bin/bash\nexit 0\n")  # the queue: nothing begins
    works = [Work(f"x, {part}", job, part) for part in "ab"]
    for work in works:
        started.start(work, 0)
    noted = json.loads((tmp_path / "jobs" / "submitted.json").read_text())
    assert [name.rpartition(" ")[0] for name in noted] == ["x, a", "x, b"]
    time.sleep(0.5)
    for number in (101, 102):
        (notes / f"over-{number}").unlink(missing_ok=True)
    again = SlurmStarter(tmp_path / "jobs", {})
    assert all(again.left_over(work) is not None for work in works)
    other = Work("x, a", CountingJob(tmp_path / "out", seconds=1.0), "a")  # of other settings
    assert again.left_over(other) is None
    for number in (101, 102):
        (notes / f"over-{number}").touch()
    assert all(SlurmStarter(tmp_path / "jobs", {}).left_over(work) is None for work in works)


def test_a_job_that_slurm_has_forgotten_is_over(tmp_path, monkeypatch):
    """Accounting is off or was cleaned: submitit waits for such a job without end."""
    notes = fake_slurm(tmp_path, monkeypatch)
    (notes / "bin/sacct").write_text("#!/bin/bash\necho 'JobID|State|NodeList'\n")
    (notes / "number").write_text("900")  # submitit remembers the states of jobs it has seen
    (notes / "bin/srun").write_text("#!/bin/bash\nexit 0\n")
    work = Work("x", CountingJob(tmp_path / "out"), "a")
    for answer, over in (("echo RUNNING", False), ("true", True), ("exit 1", True)):
        (notes / "bin/squeue").write_text(f"#!/bin/bash\n{answer}\n")
        (notes / "bin/squeue").chmod(0o755)
        handle = SlurmStarter(tmp_path / "jobs", {}).start(work, 0)
        assert handle.done() is over


def test_a_queue_that_is_full_is_tried_again(tmp_path, monkeypatch):
    notes = fake_slurm(tmp_path, monkeypatch)
    (notes / "bin/sbatch").write_text("#!/bin/bash\necho QOSMaxSubmitJobPerUserLimit >&2\nexit 1\n")
    crew = Crew(SlurmStarter(tmp_path / "jobs", {}), None)
    work = Work("x", CountingJob(tmp_path / "out"), "a")
    with pytest.raises(FitHubertError, match="sbatch: expected a job to be queued, found: .*QOSMaxSubmit.*--jobs"):
        crew.take(work)  # nothing else runs that could make room
    crew.running["other"] = (work, None, 0)
    crew.take(Work("y", CountingJob(tmp_path / "y"), "a"))
    assert list(crew.running) == ["other"] and not crew.failed()


def test_a_death_without_a_word_names_its_log(tmp_path):
    class Over:
        state = "OUT_OF_MEMORY"
        paths = type("Paths", (), {"stderr": "the.err"})

        def done(self):
            return True

    starter = Debug(tmp_path / "jobs")
    starter.start = lambda work, slot: Over()
    job = CountingJob(tmp_path / "x")
    job.folder.mkdir()
    (job.folder / ".a.error").write_text("of an earlier attempt")
    with pytest.raises(FitHubertError, match=r"^x, a: it ended without .* \(OUT_OF_MEMORY\); see the.err \(2 parts"):
        follow({"x": job}, starter, None)


def test_a_part_that_another_command_does_is_waited_for(tmp_path):
    """One that was started before its lock was seen: the second ends at once, and is no failure."""
    job = CountingJob(tmp_path / "x", seconds=0.5)
    threads = [threading.Thread(target=Work("x", job, part)) for part in "ab"]

    class Ended:
        def done(self):
            return True

    starter = Debug(tmp_path / "jobs")
    begin = starter.start

    def start(work, slot):
        if work.part == "choose":
            return begin(work, slot)
        threads["ab".index(work.part)].start()
        while not work.is_running():
            time.sleep(0.01)
        return Ended()

    starter.start, starter.poll = start, 0.02
    follow({"x": job}, starter, None)
    assert sorted(job.log()) == ["a", "b", "choose"]


def test_a_result_of_other_settings_is_not_taken(tmp_path):
    """A job that an earlier command left in the queue wrote it."""

    class Refusing(CountingJob):
        def check(self):
            raise FitHubertError("already holds a run with other settings")

    with pytest.raises(FitHubertError, match="other settings"):
        follow({"x": Refusing(tmp_path / "x")}, Debug(tmp_path / "jobs"), None)


def test_gpus_in_turn(monkeypatch, tmp_path):
    monkeypatch.setattr(starters.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    starter = LocalStarter(tmp_path / "jobs", 3)
    monkeypatch.setattr(starter._executor, "submit", lambda work: starter._executor.parameters["visible_gpus"])
    assert [starter.start(None, slot) for slot in range(3)] == [(3,), (5,), (3,)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932")
    with pytest.raises(FitHubertError, match="expected numbers in CUDA_VISIBLE_DEVICES, found GPU-8932"):
        LocalStarter(tmp_path / "jobs", 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--jobs", "0"], "--jobs: expected 1 or more, found 0"),
        (["--slurm", "partition=gpu"], "--slurm: expected --launcher slurm beside it"),
        (["--launcher", "slurm"], "expected sbatch and srun, found none"),
        (["--launcher", "slurm", "--slurm", "partition"], "--slurm partition: expected KEY=VALUE"),
        (["--launcher", "slurm", "--slurm", "time=10:00:00"], "--slurm time=10:00:00: expected a whole number of min"),
    ],
)
def test_mistakes(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["superb", "-u", "fbank", *flags, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_options_of_slurm(tmp_path, monkeypatch):
    fake_slurm(tmp_path, monkeypatch)
    options = parse_options(["partition=gpu", "mem=16GB"])
    assert options == {"partition": "gpu", "mem": "16GB"}
    assert not Launch(launcher="slurm", options=options).one_by_one and Launch().one_by_one
    with pytest.raises(FitHubertError, match="--slurm: unknown option partion; did you mean partition"):
        SlurmStarter(tmp_path / "jobs", {"partion": "gpu"})
