"""`fithubert ...`: a table of commands; the work is done elsewhere."""

import difflib
import errno
import importlib
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import FitHubertError
from .files import NO_ROOM
from .runs.launcher import check_alone
from .runs.streams import abandon_stdout, robust_streams
from .runs.versions import VERSION


class Job(NamedTuple):
    """A command: the module whose `main` it is, what it does, and an example."""

    module: str
    help: str
    example: str


JOBS = {
    "demo": Job(
        "demo",
        "Synthesise speech, distil a small student, compare it with FBANK and the embedded pair on four tasks.",
        "fithubert demo",
    ),
    "pretrain": Job(
        "pretrain.run",
        "Distil a student with s3prl's pretrain runner (the flags of run_pretrain.py).",
        "fithubert pretrain -u fithubert -g fithubert.yaml -c fithubert_runner.yaml -n my_student",
    ),
    "distill": Job(
        "distillation.train",
        "Distil a student on one device or, with torchrun or srun, on many. Run again to resume.",
        "fithubert distill -g fithubert.yaml -c fithubert_100h.yaml -n my_student",
    ),
    "prune": Job(
        "pruning.run",
        "Prune a teacher to a small student while distilling it (DPHuBERT). Run again to resume.",
        "fithubert prune -g dphubert.yaml -c dphubert_960h.yaml -n my_student",
    ),
    "groups": Job(
        "distillation.groups",
        "Group a teacher's layers by how alike they are, for a student that learns each group's mean.",
        "fithubert groups -g skill.yaml --number 4 data/LibriSpeech/dev",
    ),
    "downstream": Job(
        "downstream.run",
        "Train or evaluate a SUPERB task with s3prl (the flags of run_downstream.py).",
        "fithubert downstream -m train -u fithubert -k student.safetensors -d ctc -c mini/pr.yaml -n pr",
    ),
    "superb": Job(
        "superb.run",
        "Run SUPERB's ten tasks, or some, on a list of upstreams; one table beside the published results.",
        "fithubert superb -u fbank -u student=fithubert:student.safetensors@last_hidden_state -o result/superb",
    ),
    "abx": Job(
        "abx.run",
        "Measure how well the layers of upstreams tell phones apart, without training.",
        "fithubert abx -u fbank -u fithubert_mini --items data/LibriSpeech/test",
    ),
    "extract": Job(
        "extract.run",
        "Write an upstream's features of folders of audio. Run again to resume.",
        "fithubert extract data/LibriSpeech/dev -u fithubert_mini -o result/features",
    ),
    "joint-report": Job(
        "joint.report",
        "Train keyword spotting and speaker verification, separately and jointly, and compare with the paper.",
        "fithubert joint-report -u hubert_mini -u fithubert_mini",
    ),
    "export": Job(
        "export.onnx",
        "Write a student as an ONNX file, in fp32 or int8, that runs without torch.",
        "fithubert export student.safetensors -o student.onnx --int8",
    ),
    "export-hf": Job(
        "huggingface.export",
        "Write a student as a folder that transformers' AutoModel loads, with its code and a model card.",
        "fithubert export-hf student.safetensors -o my_student",
    ),
    "export-joint": Job(
        "joint.export",
        "Export a joint keyword and speaker run as one safetensors or ONNX file.",
        "fithubert export-joint result/downstream/joint -o joint.safetensors",
    ),
    "listen": Job(
        "joint.listen",
        "Recognise the keyword in a recording and verify its speaker.",
        "fithubert listen yes.wav --enroll my_voice.wav",
    ),
    "convert": Job(
        "checkpoints.convert",
        "Convert an official or pretrain checkpoint to one safetensors file.",
        "fithubert convert OFFICIAL.ckpt OFFICIAL.yaml -o student.safetensors",
    ),
    "synth": Job(
        "corpora.synthetic.run",
        "Write synthetic speech in the layouts of SUPERB's corpora.",
        "fithubert synth corpora --minutes 20",
    ),
    "check": Job(
        "corpora.check",
        "Verify a corpus: counts, unreadable files, missing transcripts, lists of missing files.",
        "fithubert check librispeech /data/LibriSpeech",
    ),
    "prepare": Job(
        "downstream.asr",
        "Write the files that speech recognition, emotion recognition and slot filling need.",
        "fithubert prepare librispeech /data/LibriSpeech",
    ),
    "benchmark": Job(
        "benchmarks.main",
        "Measure speed: training against a plain loop, inference against HuBERT Base.",
        "fithubert benchmark inference --short",
    ),
    "link": Job("link", "Register FitHuBERT in a clone of s3prl (--remove undoes it).", "fithubert link ~/s3prl"),
}

# What requirements-onnx.txt leaves out of a whole install, as far as commands import it first.
LEFT_OUT = ("torch", "torchaudio", "s3prl", "safetensors", "librosa", "matplotlib", "pandas", "sklearn", "tensorboardX")

# Jobs that several processes may share, or that see to it themselves.
SHARED = ("distill", "prune", "downstream", "extract")


def load(name: str) -> Callable[[list[str]], Any]:
    """The function of a command."""
    return importlib.import_module(f".{JOBS[name].module}", __package__).main


def usage() -> str:
    lines = ["usage: fithubert COMMAND [options]     (fithubert COMMAND --help for details)", ""]
    for name, job in JOBS.items():
        lines += [f"  {name:<12} {job.help}", f"  {'':<12}   {job.example}"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run a job.

    Returns
    -------
    0 on success, 2 for invalid input or a full disk, 130 after Ctrl-C, 141 when the output pipe is closed.
    """
    argv = sys.argv[1:] if argv is None else argv
    with robust_streams():
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
        try:
            try:
                return _run(argv)
            finally:
                sys.stdout.flush()  # here, where a failure can still be told
        except BrokenPipeError:  # as with `| head`
            abandon_stdout()
            return 141
        except OSError as error:
            if error.errno not in NO_ROOM | {errno.EBADF}:
                raise
            if error.filename is None:
                abandon_stdout()
            place = error.filename or "standard output, or to a file"
            print(f"fithubert: cannot write to {place}: {error.strerror}", file=sys.stderr)
            return 2


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"fithubert {VERSION}")
        return 0
    if argv[0] not in JOBS:
        near = difflib.get_close_matches(argv[0], JOBS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(JOBS)}"
        print(f"fithubert: unknown command {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    try:
        if argv[0] not in SHARED:
            check_alone(argv[0], argv[1:])
        load(argv[0])(argv[1:])
    except FitHubertError as error:
        traceback.clear_frames(error.__traceback__)  # progress bars close now, and not after the message
        # Out of a data loader's worker it comes with that worker's traceback; the last line is ours.
        message = str(error).strip().splitlines()[-1].removeprefix("fithubert_upstream.errors.FitHubertError: ")
        print(f"fithubert {argv[0]}: {message}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in LEFT_OUT:
            raise
        print(
            f"fithubert {argv[0]}: needs {error.name}, which is not installed; this is an install for `listen` and "
            "`extract` with ONNX files alone: pip install fithubert-upstream",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"\nfithubert {argv[0]}: interrupted; finished results are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
