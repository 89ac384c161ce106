"""SLURM_NTASKS=2 without srun ended in a `RuntimeError` about `--ntasks`; two processes of torchrun or mpirun around a
task each trained alone into one folder."""

import pytest

from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation import processes
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.runs.launcher import Launch, check_alone, find_launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
SBATCH = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}
SRUN = SBATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3"}
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK")
VARIABLES = {*TORCHRUN, *SRUN, *MPI, "SLURM_PTY_PORT", "SLURM_NTASKS_PER_NODE"}


@pytest.fixture
def started_with(monkeypatch):
    def start(variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return start


@pytest.mark.parametrize(
    ("variables", "launch"),
    [
        ({}, Launch()),
        (TORCHRUN, Launch("torchrun", 4, 2, False)),
        (SRUN, Launch("srun", 4, 2, False)),
        (SRUN | {"PMI_SIZE": "4", "PMI_RANK": "3"}, Launch("srun", 4, 2, False)),  # srun --mpi=pmi2
        (SRUN | {"SLURM_STEP_NUM_TASKS": "", "SLURM_STEP_NUM_NODES": ""}, Launch("srun", 4, 2, False)),
        (SRUN | TORCHRUN, Launch("torchrun", 4, 2, False)),  # one torchrun on each node
        (SBATCH, Launch()),
        (SBATCH | {"SLURM_STEP_ID": str(0xFFFFFFFB)}, Launch()),  # the batch script itself
        (SBATCH | {"SLURM_JOB_NAME": "interactive", "SLURM_STEP_ID": str(0xFFFFFFFA)}, Launch()),  # salloc's shell
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, Launch("srun", 4, 2, False)),  # srun in such a shell
        (SRUN | {"SLURM_JOB_NAME": "interactive", "SLURM_PTY_PORT": "1"}, Launch()),  # srun --pty -J interactive
        (SRUN | {"SLURM_JOB_NAME": "bash"}, Launch()),  # srun --pty bash
        (SRUN | {"SLURM_JOB_NAME": "bash", "SLURM_STEP_ID": "1"}, Launch("srun", 4, 2, False)),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "0"}, Launch("srun")),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, Launch("OMPI_COMM_WORLD_SIZE", 2, 1, False)),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "8"}, Launch("PMI_SIZE", 8, 1, True)),  # mpirun in a job
        ({"RANK": "1", "WORLD_SIZE": "2"}, Launch("RANK and WORLD_SIZE", 2, 1, False)),
        ({"WORLD_SIZE": "2"}, Launch()),  # left over
    ],
)
def test_who_started_how_many(variables, launch):
    assert find_launch(variables) == launch


def test_numbers_that_are_none():
    with pytest.raises(FitHubertError, match="WORLD_SIZE: expected a number of processes, found 'two'"):
        find_launch(TORCHRUN | {"WORLD_SIZE": "two"})
    with pytest.raises(FitHubertError, match="the same number of processes on each node, found 3 processes on 2 nodes"):
        find_launch(SRUN | {"SLURM_STEP_NUM_TASKS": "3"})


def test_distillation_under_slurm_without_srun(started_with, capsys):
    started_with(SBATCH)
    fabric = processes.build_fabric("32-true")
    assert fabric.world_size == 1 and fabric.global_rank == fabric.local_rank == 0
    assert "one process, though SLURM_NTASKS is 4; to use all, start with srun" in capsys.readouterr().err
    started_with({})
    assert processes.build_fabric("32-true").world_size == 1
    assert capsys.readouterr().err == ""


def test_srun_starts_what_the_step_has(started_with):
    """Lightning refuses `--ntasks` without `--ntasks-per-node`, and steps of other sizes than the job."""
    started_with(SRUN | {"SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS_PER_NODE": "8"})
    environment = processes._ENVIRONMENTS["srun"]()
    environment.validate_settings(2, 2)
    assert (environment.world_size(), environment.global_rank(), environment.local_rank()) == (4, 3, 1)


@pytest.mark.parametrize("variables", [{"OMPI_COMM_WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}])
def test_distillation_by_a_launcher_that_it_cannot_join(started_with, variables):
    started_with(variables)
    with pytest.raises(FitHubertError, match="started by torchrun or srun, found 2"):
        processes.build_fabric("32-true")


@pytest.mark.parametrize("variables", [TORCHRUN, SRUN, {"PMI_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}])
@pytest.mark.parametrize(
    "line",
    [
        "downstream -m train -u fbank -d ctc -c pr.yaml -n x",
        "pretrain -n x",
        "superb -u fbank",
        "joint-report -u fbank",
        "demo",
        "synth corpora --minutes 1",
        "export fithubert_mini -o a.onnx",
        "convert a b -o c",
        "prepare librispeech corpus",
        "benchmark train",
    ],
)
def test_jobs_for_one_process(tmp_path, monkeypatch, capsys, started_with, line, variables):
    monkeypatch.chdir(tmp_path)
    started_with(variables)
    assert cli(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fithubert {line.split()[0]}: expected one process, found ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--local_rank=0", "--local-rank", "--local_rank"])
@pytest.mark.parametrize("job", ["downstream -m train -d ctc -n x", "pretrain -n x", "superb -u fbank"])
def test_the_rank_that_older_launchers_pass(tmp_path, monkeypatch, capsys, started_with, job, flag):
    monkeypatch.chdir(tmp_path)
    started_with({})
    assert cli([*job.split(), flag, "0"]) == 2
    assert "expected one process, which has no rank; leave it out" in capsys.readouterr().err


def test_distillation_takes_it(started_with, capsys):
    from fithubert_upstream.distillation.train import build_parser

    started_with({})
    assert build_parser().parse_intermixed_args(["--local-rank=1", "-n", "x", "a=1"]).overrides == ["a=1"]


def test_one_process_of_a_launcher_may_do_anything(started_with):
    started_with(TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0"})
    check_alone("a task")
