"""`fithubert export-joint`: a joint fine-tuning in s3prl's runner becomes one file for programs."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..assets import JOINT
from ..checkpoints.student import check_file
from ..checkpoints.torch_files import read_torch
from ..checkpoints.weights import build_model
from ..compat import s3prl as s3prl_compat
from ..downstream.flags import DEFAULTS
from ..downstream.joint_ks_sv.config import KeywordConfig
from ..downstream.past_run import check_entries, check_files
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..runs.outputs import check_output_file
from ..runs.parser import Parser
from ..upstream.hubconf import ENTRIES
from .model import FEATURES, JointModel, JointModelConfig, build_joint, load_joint, save_joint
from .onnx import export_joint_onnx

TASK = "joint_ks_sv"
BEST = "dev-best.ckpt"
STUDENTS = tuple(name for name in ENTRIES if name != "whisper_local")


def build_parser() -> Parser:
    parser = Parser(
        prog="fithubert export-joint",
        description="Export a joint_ks_sv run (student and heads) as one .safetensors file for `fithubert listen` or "
        "`fithubert_upstream.load_joint`, or as an .onnx file that runs without torch. Using either does not need "
        "s3prl. An ONNX file is checked against the model before it is saved.",
        epilog="example: fithubert export-joint result/downstream/joint -o joint.safetensors",
    )
    parser.add_argument(
        "run",
        help=f"the folder of a run (its {BEST} is taken), one of its checkpoints, an exported .safetensors, or the "
        f"embedded {JOINT}",
    )
    parser.add_argument("-o", "--output", required=True, help="the .safetensors or .onnx to write")
    parser.add_argument("-k", "--upstream-ckpt", help="path of the upstream's checkpoint, if it has moved")
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the file; loading gives 32-bit")
    parser.add_argument("--int8", action="store_true", help="in an .onnx: 8-bit weights, answers differ a little")
    return parser


def main(argv: list[str]) -> None:
    """`fithubert export-joint RUN -o FILE`."""
    args = build_parser().parse_args(argv)

    check_output_file(args.output, args.run)
    as_onnx = Path(args.output).suffix.lower() == ".onnx"
    if args.int8 and not as_onnx:
        raise FitHubertError(f"--int8: expected an output with the ending .onnx, found {args.output}; use --half")
    if args.half and as_onnx:
        raise FitHubertError(f"--half: expected a .safetensors to write, found {args.output}; use --int8")
    model = _load(args.run, args.upstream_ckpt)
    measured = []
    if as_onnx:
        measured.append(export_joint_onnx(model, args.output, args.int8))
    else:
        if args.half:
            model.half()
        save_joint(model, args.output)
    config = model.config
    parts = [
        f"{sum(p.numel() for p in model.parameters()):,} parameters",
        f"{Path(args.output).stat().st_size / 1e6:.1f} MB",
    ]
    if "ks" in config.tasks:
        parts.append(f"{len(config.classes)} keywords")
    if "sv" in config.tasks:
        threshold = "no threshold yet" if config.threshold is None else f"threshold {config.threshold:.3f} (dev)"
        parts.append(f"speaker embeddings of {config.embedding_dim}, {threshold}")
    print(f"{args.output}: {', '.join(parts + measured)}")
    enroll = "" if config.tasks == ("ks",) else " --enroll SPEAKER.wav"
    print(f"try: fithubert listen FILE.wav{enroll} -m {args.output}")


def _load(run: str, upstream_ckpt: str | None) -> JointModel:
    """The joint model of a run, or one that was exported before."""
    path = Path(run)
    if (run == JOINT and not path.exists()) or (path.is_file() and path.suffix == ".safetensors"):
        if upstream_ckpt is not None:
            raise FitHubertError(f"-k: expected a run to export, found {run}, which holds its upstream")
        return load_joint(run)
    return joint_from_states(find_states(run), upstream_ckpt)


def find_states(run: str | Path) -> Path:
    """The checkpoint of a run: the file itself, or a folder's best on dev. Raises FitHubertError if there is none."""
    path = Path(run)
    if path.is_dir():
        if not (path / BEST).is_file():
            found = ", ".join(sorted(file.name for file in path.glob("*.ckpt"))) or "no checkpoint"
            raise FitHubertError(f"{path}: expected a run's folder with {BEST}, found {found}; name a checkpoint file")
        return path / BEST
    check_file(path)
    return path


def joint_from_states(path: str | Path, upstream_ckpt: str | Path | None = None) -> JointModel:
    """The joint model in a checkpoint of `fithubert downstream -d joint_ks_sv`, without heads that nothing uses.

    Parameters
    ----------
    path : path
        `states-*.ckpt` or `dev-best.ckpt`.
    upstream_ckpt : path, optional
        The file that the upstream was made from, where it is not the one named inside. It gives the student's shape,
        and of a frozen upstream the weights too.

    Raises
    ------
    FitHubertError
        The file is missing, damaged or of another task, the upstream is none of ours, or its checkpoint is gone.
    """
    path = Path(path)
    states, args = _read_states(path)
    student = _student(states, args, path, upstream_ckpt)
    feature, layer = _feature(args, student)
    if feature == "last_hidden_state":
        student = student.keep_heads(student.config.head_layers[-1:])
    elif feature == "hidden_states" and "heads" not in student.config.hidden_states:
        student = student.keep_heads(())

    heads = {name: tensor for name, tensor in states["Downstream"].items() if name.startswith(("ks_head.", "sv_head."))}
    embedding = heads.get("sv_head.weight")
    threshold = float(states["Downstream"].get("threshold", math.nan))
    config = JointModelConfig(
        student=student.config,
        feature=feature,
        layer=layer,
        normalize=bool(getattr(args, "upstream_feature_normalize", False)),
        classes=_classes(states["Config"]) if "ks_head.weight" in heads else None,
        embedding_dim=None if embedding is None else len(embedding),
        threshold=None if embedding is None or math.isnan(threshold) else threshold,
        trim_db=float(states["Config"].get("downstream_expert", {}).get("trim_db", 0.0)),
    )
    weights = {f"student.{name}": tensor for name, tensor in student.state_dict().items()} | heads
    if "weights" in states["Featurizer"]:
        weights["layer_weights"] = states["Featurizer"]["weights"].float().softmax(dim=0)
    return build_joint(config, weights, path)


def _read_states(path: Path) -> tuple[dict[str, Any], argparse.Namespace]:
    check_file(path)
    s3prl_compat.apply()  # allows the classes in it
    states = read_torch(path)
    missing = [key for key in ("Args", "Config", "Downstream", "Featurizer") if key not in states]
    if missing:
        raise FitHubertError(
            f"{path}: expected a checkpoint of `fithubert downstream -d {TASK}`, found no {', '.join(missing)} inside"
        )
    args = states["Args"]
    check_entries("run", path, states, "evaluate")
    if getattr(args, "downstream", None) != TASK:
        raise FitHubertError(
            f"{path}: expected a run of -d {TASK}, found one of -d {getattr(args, 'downstream', 'unknown')}"
        )
    return states, args


def _student(
    states: Mapping[str, Any], args: argparse.Namespace, path: Path, upstream_ckpt: str | Path | None
) -> FitHubert:
    """The student that the heads were trained on: fine-tuned inside, else the upstream's own."""
    if args.upstream not in STUDENTS:
        raise FitHubertError(
            f"{path}: expected a run on a FitHuBERT upstream ({', '.join(STUDENTS)}), found one on {args.upstream}; "
            "others cannot be exported"
        )
    now = argparse.Namespace(**DEFAULTS | vars(args))
    if upstream_ckpt is not None:
        now.upstream_ckpt = str(upstream_ckpt)
    check_files(now, path)
    student = ENTRIES[args.upstream](ckpt=now.upstream_ckpt, model_config=now.upstream_model_config).model
    if "Upstream" not in states:
        return student
    weights = {name.removeprefix("model."): tensor for name, tensor in states["Upstream"].items()}
    return build_model(student.config, weights, path)


def _feature(args: argparse.Namespace, student: FitHubert) -> tuple[str, int | None]:
    """(feature, layer) that s3prl's Featurizer chose, for what it was asked."""
    feature, layer = args.upstream_feature_selection, getattr(args, "upstream_layer_selection", None)
    if feature == "hidden_states_40ms":
        raise FitHubertError(f"-s {feature}: expected a run with -s {', '.join(FEATURES[:-1])} or {FEATURES[-1]}")
    listed = {"hidden_states": student.config.num_states, "projected_states": len(student.config.head_layers)}
    if feature not in FEATURES or (feature == "projected_states" and listed[feature] < 2):
        feature = "hidden_states"  # as s3prl does where an upstream has no such feature
    return feature, layer if listed.get(feature, 1) > 1 else None


def _classes(config: Mapping[str, Any]) -> tuple[str, ...]:
    block = config.get("downstream_expert", {}).get("ks") or {}
    return tuple(map(str, block.get("classes", KeywordConfig.classes)))  # the task's own, where the config leaves it
