"""`fithubert export`: a student as one ONNX file, which onnxruntime runs without torch."""

import argparse
import contextlib
import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from .. import assets
from ..audio import SAMPLE_RATE
from ..checkpoints.load import load_fithubert
from ..errors import FitHubertError, from_extra
from ..files import atomic_path
from ..models.fithubert import FitHubert
from ..models.lengths import FRAME_RATE, valid_mask
from ..runs.outputs import check_output_file
from ..runs.versions import VERSION
from .session import FORMAT, open_session, run
from .traceable import TraceableFitHubert

OPSET = 20  # the first with GELU; onnxruntime 1.17 and later
CONVS = ("convs.", "pos_conv.")  # how the names of convolutions begin in `TraceableFitHubert`
TOLERANCE = 1e-4  # largest difference of an fp32 file's features to the student's own
# What the outputs' axes are called inside the file.
AXES = {
    "last_hidden_state": ["batch", "frames_20ms", "width"],
    "hidden_states": ["layers", "batch", "frames_20ms", "width"],
    "projected_states": ["heads", "batch", "frames_20ms", "width"],
    "frames": ["batch"],
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert export",
        description="Write a student as one ONNX file for onnxruntime: waveforms and lengths in, features out, any "
        "batch, any length. The exported file is checked against the student before it is saved.",
        epilog="example: fithubert export fithubert_mini -o fithubert_mini.onnx --int8",
    )
    parser.add_argument(
        "ckpt", help=f"a student's .safetensors, states-*.ckpt or official checkpoint, or {' or '.join(assets.NAMES)}"
    )
    parser.add_argument("model_config", nargs="?", help="the .yaml of an official Lightning .ckpt")
    parser.add_argument("-o", "--output", required=True, help="the .onnx to write")
    parser.add_argument(
        "--int8", action="store_true", help="8-bit weights: a quarter of the size, features differ a little"
    )
    return parser


def main(argv: list[str]) -> None:
    """`fithubert export STUDENT -o FILE`."""
    args = build_parser().parse_args(argv)
    check_output_file(args.output, args.ckpt)
    if args.ckpt == assets.JOINT and not Path(args.ckpt).exists():
        raise FitHubertError(
            f"{args.ckpt}: expected a student, found a joint model; fithubert export-joint {args.ckpt} -o {args.output}"
        )
    model = load_fithubert(args.ckpt, args.model_config)
    measured = export(model, args.output, args.int8)
    parts = [
        f"{sum(p.numel() for p in model.parameters()):,} parameters",
        f"{Path(args.output).stat().st_size / 1e6:.1f} MB",
        measured,
    ]
    print(f"{args.output}: {', '.join(parts)}")


def export(model: FitHubert, path: str | Path, int8: bool = False) -> str:
    """Write a student as an ONNX file, after running that beside the student.

    The file takes `waveforms` (B, T) float32, 16 kHz, zero-padded on the right, and `lengths` (B,) int64, samples of
    each, at least 1. It gives `last_hidden_state` (B, L, D), `hidden_states` (N, B, L, D), `projected_states`
    (heads, B, L, D) where the student has more than one head, and `frames` (B,) int64: what `UpstreamExpert` gives at
    20 ms, zero past each utterance's end. Its metadata holds the student's config.

    Parameters
    ----------
    model : FitHubert
        In eval mode, fp32, on the CPU.
    path : path
        The `.onnx` to write: the whole file or none.
    int8 : bool
        Store the weights of matrix products in 8 bits and round their inputs to 8 bits on the way.

    Returns
    -------
    str
        How far its features on noise are from the student's, in words.

    Raises
    ------
    FitHubertError
        The extra `onnx` is missing, or the file's features are not the student's.
    """
    metadata = {"format": FORMAT, "config": model.config.to_json()}
    return write(path, lambda: trace(model), int8, metadata, lambda file: _compare(model, file, int8))


def write(
    path: str | Path,
    trace: Callable[[], Any],
    int8: bool,
    metadata: dict[str, str],
    compare: Callable[[Path], str],
    products: bool = True,
) -> str:
    """Trace, quantize if `int8`, and write an ONNX file after `compare` ran it: the whole file or none.

    `products` is that of `quantize`; `metadata` is what differs from file to file. Returns what `compare` says. Raises
    as `export`.
    """
    with from_extra("onnx", "an ONNX file"):
        for package in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(package)
    try:
        with atomic_path(path) as temporary, tqdm(total=2 + int8, desc="trace", unit="step", leave=False) as bar:
            graph = trace()
            bar.update()
            if int8:
                bar.set_description("quantize")
                graph = quantize(graph, products)
                bar.update()
            strip(graph)
            bar.set_description("run")
            common = {
                "version": "1",
                "sample_rate": str(SAMPLE_RATE),
                "frame_rate": str(FRAME_RATE),
                "package_version": VERSION,
                "precision": "int8" if int8 else "fp32",
            }
            for key, value in (metadata | common).items():
                graph.metadata_props.add(key=key, value=value)
            temporary.write_bytes(graph.SerializeToString())
            return compare(temporary)
    except OSError as error:
        raise FitHubertError(f"{path}: expected a file that can be written, found: {error}") from error


def trace(model: FitHubert) -> Any:
    """The student as an `onnx.ModelProto` in fp32."""
    names = [name for name in AXES if name != "projected_states" or len(model.config.head_layers) > 1]
    return trace_module(TraceableFitHubert(model), {name: AXES[name] for name in names})


def trace_module(module: nn.Module, axes: dict[str, list[str]]) -> Any:
    """A module of `waveforms` and `lengths` as an `onnx.ModelProto`, its outputs in the order of `axes`."""
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(3, 8000), torch.tensor([8000, 4000, 1])),
            dynamo=True,
            dynamic_shapes={"waveforms": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}},
            input_names=["waveforms", "lengths"],
            output_names=list(axes),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    proto = program.model_proto
    for output in proto.graph.output:
        for dim, name in zip(output.type.tensor_type.shape.dim, axes[output.name], strict=True):
            if not dim.HasField("dim_value"):
                dim.dim_param = name
    return proto


def quantize(proto: Any, products: bool = True) -> Any:
    """The same with its weights in 8 bits, one scale for each output channel.

    With `products`, linear layers compute in 8 bits, too, with their input's range taken anew at each call and weights
    of 7 bits, whose sums no CPU cuts off. Convolutions compute in fp32: before the first LayerNorm speech is orders of
    magnitude above silence, of which one range for all frames would leave nothing. Without it everything computes in
    fp32: rounded inputs differ from processor to processor, and so does what comes of them.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    matrices = {tensor.name for tensor in proto.graph.initializer if len(tensor.dims) == 2}
    names = {node.input[1] for node in proto.graph.node if node.op_type == "MatMul"} & matrices
    if products:
        convs = [node for node in proto.graph.node if any(name.startswith(CONVS) for name in node.input)]
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(
                proto,
                path,
                op_types_to_quantize=["MatMul"],
                nodes_to_exclude=[node.name for node in convs],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
            proto = onnx.load(path)
        names = set()
    found = {tensor.name for tensor in proto.graph.initializer}
    names |= {name for name in found if name.startswith(CONVS) and name.endswith("weight")}
    _store_int8(proto, sorted(names))
    return proto


def _store_int8(proto: Any, names: Sequence[str]) -> None:
    """Put these weights in 8 bits into the file, in place; computing with them stays in fp32."""
    import onnx

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name in names:
        weight = onnx.numpy_helper.to_array(weights[name])
        axis = 0 if weight.ndim == 3 else 1  # (D, E, K) of a convolution, (K C, D) of a matrix product
        scale = np.abs(weight).max(tuple(i for i in range(weight.ndim) if i != axis), keepdims=True) / 127
        scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
        proto.graph.initializer.remove(weights[name])
        for part, values in (("int8", np.round(weight / scale).astype(np.int8)), ("scale", scale)):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(values, f"{name}_{part}"))
        # Not DequantizeLinear, which onnxruntime would compute at each call: this it folds when it loads the file.
        float_type = onnx.TensorProto.FLOAT
        proto.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=float_type))
        proto.graph.node.insert(1, onnx.helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [name]))


def strip(proto: Any) -> None:
    """Take out, in place, what the exporter notes for debugging: stack traces with paths of this machine, shapes
    inside. It is a third of a small file."""
    graph = proto.graph
    proto.ClearField("metadata_props")
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for field in ("metadata_props", "doc_string", "value_info"):
        graph.ClearField(field)


def _compare(model: FitHubert, path: Path, int8: bool) -> str:
    """Run the file beside the student on a padded batch of noise."""
    lengths = torch.tensor([1, 24000, 9999])
    waveforms = 0.1 * torch.randn(3, 24000, generator=torch.Generator().manual_seed(0))
    features = run(open_session(path), waveforms, lengths)
    with torch.no_grad():
        projection, valid, padded = model.extract(waveforms, lengths)
        encoded, frames = model.transform(projection, valid if padded else None), model.frame_lengths(lengths)
        projected = model.project(encoded, frames)
        expected = {"hidden_states": torch.stack(model.hidden_states(projection, encoded, projected, frames))}
        if projected:
            expected["last_hidden_state"] = projected[-1]
    if int8:
        valid = valid_mask(frames, int(frames.max()))
        cosines = [F.cosine_similarity(features[key], tensor, dim=-1)[..., valid] for key, tensor in expected.items()]
        cosines = torch.cat([cosine.flatten() for cosine in cosines])
        return f"cosine to the fp32 features {cosines.mean():.4f} (lowest {cosines.min():.4f})"
    difference = max(float((features[key] - tensor).abs().max()) for key, tensor in expected.items())
    if not difference <= TOLERANCE:  # nor is NaN
        raise FitHubertError(
            f"expected features within {TOLERANCE:g} of the student's, found a difference of {difference:.2g}; "
            "nothing was written"
        )
    return f"largest difference to the student {difference:.1e}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of PyTorch's exporter and of the quantizer, of which none is the user's to mend."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
