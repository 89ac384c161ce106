"""`fithubert convert`: any checkpoint of a student as one safetensors file."""

import argparse

from ..runs.outputs import check_output_file
from .load import load_fithubert
from .student import save_fithubert


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert convert",
        description="Write an official checkpoint (FitHuBERT's, MaskHuBERT's, ARMHuBERT's or STaRHuBERT's .ckpt with "
        "its .yaml, DistilHuBERT's .ckpt, DPHuBERT's or DPWavLM's .pth), or a states-*.ckpt of `fithubert pretrain`, "
        "as one .safetensors file that needs neither fairseq nor a config beside it.",
        epilog="example: fithubert convert OFFICIAL.ckpt OFFICIAL.yaml -o student.safetensors",
    )
    parser.add_argument("ckpt", help="official .ckpt or .pth, or states-*.ckpt")
    parser.add_argument("model_config", nargs="?", help="the official .yaml of a Lightning .ckpt")
    parser.add_argument("-o", "--output", required=True, help="the .safetensors to write")
    parser.add_argument("--last-head", action="store_true", help="keep the last prediction head only")
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the file; loading gives 32-bit")
    return parser


def main(argv: list[str]) -> None:
    """Convert, and say what was written."""
    args = build_parser().parse_args(argv)
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
