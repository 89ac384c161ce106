"""`fithubert ...`: one job a sub-command; the work is done elsewhere."""

import argparse
import difflib
import errno
import logging
import sys
import traceback
from collections.abc import Callable

from .errors import FitHubertError
from .files import NO_ROOM
from .runs.launcher import check_alone
from .runs.streams import abandon_stdout, robust_streams
from .runs.versions import VERSION


def convert(argv: list[str]) -> None:
    """Convert an official or pretrain checkpoint to one safetensors file."""
    parser = argparse.ArgumentParser(
        prog="fithubert convert",
        description="Write an official FitHuBERT .ckpt with its .yaml, or a states-*.ckpt of `fithubert pretrain`, as "
        "one .safetensors file that needs neither fairseq nor a config beside it.",
        epilog="example: fithubert convert OFFICIAL.ckpt OFFICIAL.yaml -o student.safetensors",
    )
    parser.add_argument("ckpt", help="official .ckpt or states-*.ckpt")
    parser.add_argument("model_config", nargs="?", help="the official .yaml")
    parser.add_argument("-o", "--output", required=True, help="the .safetensors to write")
    parser.add_argument("--last-head", action="store_true", help="keep the last prediction head only")
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the file; loading gives 32-bit")
    args = parser.parse_args(argv)

    from .checkpoints.load import load_fithubert
    from .checkpoints.student import save_fithubert
    from .runs.outputs import check_output_file

    check_output_file(args.output, args.ckpt)
    model = load_fithubert(args.ckpt, args.model_config)
    if args.last_head:
        model = model.keep_heads(model.config.head_layers[-1:])
    if args.half:
        model.half()
    save_fithubert(model, args.output)
    count = sum(p.numel() for p in model.parameters())
    heads = ", ".join(map(str, model.config.head_layers)) or "none"
    print(f"{args.output}: {count:,} parameters, heads on layers {heads}")


def pretrain(argv: list[str]) -> None:
    """Distil a student with s3prl's pretrain runner (the flags of run_pretrain.py)."""
    from .pretrain.run import main

    print(f"student: {main(argv)}")


def distill(argv: list[str]) -> None:
    """Distil a student on one device or, with torchrun or srun, on many. Run again to resume."""
    from .distillation.train import main

    main(argv)


def downstream(argv: list[str]) -> None:
    """Train or evaluate a SUPERB task with s3prl (the flags of run_downstream.py)."""
    from .downstream.run import main

    main(argv)


def superb(argv: list[str]) -> None:
    """Run PR, ASR, KS and SV on a list of upstreams; one table beside the published results."""
    from .superb.run import main

    main(argv)


def joint_report(argv: list[str]) -> None:
    """Train keyword spotting and speaker verification, separately and jointly, and compare with the paper."""
    from .joint.report import main

    main(argv)


def export(argv: list[str]) -> None:
    """Write a student as an ONNX file, in fp32 or int8, that runs without torch."""
    from .export.onnx import main

    main(argv)


def export_joint(argv: list[str]) -> None:
    """Write a joint keyword and speaker run as one file for programs."""
    from .joint.export import main

    main(argv)


def listen(argv: list[str]) -> None:
    """Recognise the keyword in a recording and verify its speaker."""
    from .joint.listen import main

    main(argv)


def demo(argv: list[str]) -> None:
    """Synthesise speech, distil a small student, compare it with FBANK and the embedded pair on four tasks."""
    from .demo import main

    main(argv)


def synth(argv: list[str]) -> None:
    """Write synthetic speech in the layouts of LibriSpeech, Speech Commands and VoxCeleb1."""
    from .corpora.synthetic.run import main

    main(argv)


def check(argv: list[str]) -> None:
    """Verify a corpus: counts, unreadable files, missing transcripts, trials of missing files."""
    from .corpora.check import main

    main(argv)


def prepare(argv: list[str]) -> None:
    """Write the length tables and char.dict that speech recognition needs."""
    from .downstream.asr import main

    main(argv)


def link(argv: list[str]) -> None:
    """Register FitHuBERT in a clone of s3prl (--remove undoes it)."""
    from .link import main

    main(argv)


def benchmark(argv: list[str]) -> None:
    """Measure speed: training against a plain loop, inference against HuBERT Base."""
    from .benchmarks.main import main

    main(argv)


# name -> (job, an example of its use)
JOBS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "demo": (demo, "fithubert demo"),
    "pretrain": (
        pretrain,
        "fithubert pretrain -u fithubert -g fithubert.yaml -c fithubert_runner.yaml -n my_student",
    ),
    "distill": (distill, "fithubert distill -g fithubert.yaml -c fithubert_100h.yaml -n my_student"),
    "downstream": (
        downstream,
        "fithubert downstream -m train -u fithubert -k student.safetensors -d ctc -c mini/pr.yaml -n pr",
    ),
    "superb": (
        superb,
        "fithubert superb -u fbank -u student=fithubert:student.safetensors@last_hidden_state -o result/superb",
    ),
    "joint-report": (joint_report, "fithubert joint-report -u hubert_mini -u fithubert_mini"),
    "export": (export, "fithubert export student.safetensors -o student.onnx --int8"),
    "export-joint": (export_joint, "fithubert export-joint result/downstream/joint -o joint.safetensors"),
    "listen": (listen, "fithubert listen yes.wav --enroll my_voice.wav"),
    "convert": (convert, "fithubert convert OFFICIAL.ckpt OFFICIAL.yaml -o student.safetensors"),
    "synth": (synth, "fithubert synth corpora --minutes 20"),
    "check": (check, "fithubert check librispeech /data/LibriSpeech"),
    "prepare": (prepare, "fithubert prepare librispeech /data/LibriSpeech"),
    "benchmark": (benchmark, "fithubert benchmark inference --short"),
    "link": (link, "fithubert link ~/s3prl"),
}


# Jobs that several processes may share, or that see to it themselves.
SHARED = ("distill", "downstream")


def usage() -> str:
    lines = ["usage: fithubert JOB [flags]     (fithubert JOB --help lists a job's flags)", ""]
    for name, (job, example) in JOBS.items():
        lines += [f"  {name:<12} {job.__doc__}", f"  {'':<12}   {example}"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run a job.

    Returns
    -------
    0 when done, 2 when what was asked for cannot be, 130 after Ctrl-C, 141 when nobody reads the output any more.
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
        hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(JOBS)}"
        print(f"fithubert: expected a job, found {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    try:
        if argv[0] not in SHARED:
            check_alone(argv[0], argv[1:])
        JOBS[argv[0]][0](argv[1:])
    except FitHubertError as error:
        traceback.clear_frames(error.__traceback__)  # progress bars close now, and not after the message
        # Out of a data loader's worker it comes with that worker's traceback; the last line is ours.
        message = str(error).strip().splitlines()[-1].removeprefix("fithubert_upstream.errors.FitHubertError: ")
        print(f"fithubert {argv[0]}: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nfithubert {argv[0]}: interrupted; finished results are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
