"""The flags of `fithubert downstream`: those of s3prl's run_downstream.py and ours, and which of them go together."""

import argparse
import math
import os

import torch

from ..compat.s3prl_experts import UNTRAINED
from ..errors import FitHubertError
from ..runs.parser import Parser
from ..settings.files import DOWNSTREAM_CONFIGS, available_configs
from .overrides import AddOverrides

# What s3prl's runner is given where a flag is not, under the names it reads.
DEFAULTS = {
    "evaluate_split": "test",
    "override": None,
    "backend": "nccl",
    "local_rank": None,
    "past_exp": None,
    "init_ckpt": None,
    "config": None,
    "downstream": None,
    "downstream_variant": None,
    "hub": "torch",
    "upstream": None,
    "upstream_ckpt": None,
    "upstream_model_config": None,
    "upstream_refresh": False,
    "upstream_trainable": False,
    "upstream_feature_selection": "hidden_states",
    "upstream_layer_selection": None,
    "upstream_feature_normalize": False,
    "upstream_model_name": "model.pt",
    "upstream_revision": None,
    "expname": None,
    "expdir": None,
    "auto_resume": False,
    "push_to_hf_hub": False,
    "hf_hub_org": None,
    "seed": 1337,
    "device": None,
    "cache_dir": None,
    "verbose": False,
    "disable_cudnn": False,
}
OURS = {"skip_oov": False, "all_states": False, "feature_cache": None, "feature_cache_gb": 50.0}
# What belongs to a run from its start, with the flag's name: a checkpoint holds it.
OF_A_RUN = {
    "downstream": "-d",
    "hub": "--hub",
    "upstream": "-u",
    "upstream_trainable": "-f",
    "upstream_feature_selection": "-s",
    "upstream_layer_selection": "-l",
    "upstream_feature_normalize": "--upstream_feature_normalize",
    "upstream_model_name": "--upstream_model_name",
    "upstream_revision": "--upstream_revision",
    "downstream_variant": "-v",
    "seed": "--seed",
}


def build_parser() -> Parser:
    """All flags; what is not given is not in what it parses."""
    configs = ", ".join(available_configs(DOWNSTREAM_CONFIGS))
    parser = Parser(
        prog="fithubert downstream",
        description="Train or evaluate a SUPERB task, or joint_ks_sv: s3prl's run_downstream.py, its flags and more.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        epilog="example: fithubert downstream -m train -u fithubert -k student.safetensors -d speech_commands -c "
        "mini/ks.yaml -n ks",
    )
    add = parser.add_argument
    add("-m", "--mode", choices=["train", "evaluate", "inference"], required=True)
    add("-t", "--evaluate_split", help="-m evaluate: the split, by default test; -m inference: an audio file")
    add("-o", "--override", action=AddOverrides, help="config.a.b=value,,args.c=value; the highest priority")
    add("-e", "--past_exp", metavar="{CKPT,DIR}", help="resume or evaluate a run with its own flags and config")
    add("-i", "--init_ckpt", metavar="CKPT", help="start from the weights of a checkpoint, with new flags and config")
    add("-c", "--config", help=f"a file, or one of {configs}")
    add(
        "-d",
        "--downstream",
        help="the task: ctc, asr, speech_commands, sv_voxceleb1, fluent_commands, voxceleb1, emotion, diarization, "
        "quesst14_dtw, joint_ks_sv",
    )
    add("-v", "--downstream_variant", help="a variant of the task, where s3prl's has some (emotion: fold1)")
    add("-u", "--upstream", help="a name on s3prl.hub; with --hub huggingface a repository")
    add("-k", "--upstream_ckpt", metavar="{PATH,URL,ID}", help="the upstream's weights, where it takes them")
    add("-g", "--upstream_model_config", help="the upstream's config, where it takes one")
    add("-r", "--upstream_refresh", action="store_true", help="download the upstream again")
    add("-f", "--upstream_trainable", action="store_true", help="fine-tune the upstream; else it is frozen")
    add("-s", "--upstream_feature_selection", metavar="KEY", help="the feature (hidden_states, a weighted sum)")
    add("-l", "--upstream_layer_selection", type=int, metavar="N", help="use layer N instead of the weighted sum")
    add("--upstream_feature_normalize", action="store_true", help="normalise the layers before they are summed")
    add("--hub", choices=["torch", "huggingface"], help="where the upstream is looked for (torch: s3prl.hub)")
    add("--upstream_model_name", metavar="FILE", help="--hub huggingface: the file of the weights (model.pt)")
    add("--upstream_revision", metavar="HASH", help="--hub huggingface: the commit")
    add("-n", "--expname", metavar="NAME", help="save in result/downstream/NAME")
    add("-p", "--expdir", metavar="DIR", help="save in DIR; with -e, by default, beside the checkpoint")
    add("-a", "--auto_resume", action="store_true", help="resume the run in the output folder, if there is one")
    add("--seed", type=int, help="1337")
    add("--device", help="cpu, cuda, cuda:1, ...; by default the GPU if there is one")
    add("--cache_dir", metavar="DIR", help="torch.hub's cache, for downloads of our upstreams")
    add("--verbose", action="store_true", help=argparse.SUPPRESS)
    add("--disable_cudnn", action="store_true")
    add("--backend", help="with --local_rank: nccl, gloo")
    add("--local_rank", "--local-rank", type=int, help="the GPU of this process, as a launcher gives it")
    add("--push_to_hf_hub", metavar="BOOL", type=_boolean, help="False: see `hf upload`")
    add("--hf_hub_org", help=argparse.SUPPRESS)
    add("--skip-oov", action="store_true", help="-d ctc: leave out utterances with words that the lexicon lacks")
    add(
        "--all-states",
        action="store_true",
        help="-m evaluate -e DIR: evaluate every states-*.ckpt and name the best (like s3prl's test_expdir.sh)",
    )
    add("--feature-cache", metavar="DIR", help="cache a frozen upstream's features in DIR: faster, same results")
    add("--feature-cache-gb", type=float, metavar="N", help="size limit of the cache in GB (default: 50)")
    return parser


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "none", "0", "1"):
        raise argparse.ArgumentTypeError(f"expected True or False, found {text}")
    return text.lower() in ("true", "1")


def read_flags(argv: list[str]) -> argparse.Namespace:
    """What is given; nothing else is in it. Raises FitHubertError for flags that are unknown or do not go together."""
    given = build_parser().parse_args(argv)
    check_together(given)
    return given


def with_defaults(given: argparse.Namespace) -> argparse.Namespace:
    """All of s3prl's flags, and no others."""
    values = {name: value for name, value in vars(given).items() if name not in OURS}
    return argparse.Namespace(**{**DEFAULTS, **values})


def check_together(given: argparse.Namespace) -> None:
    """Raise FitHubertError for a flag that the run would not read beside the others, or that misses another."""

    def has(name: str) -> bool:
        return getattr(given, name, None) not in (None, False)

    trains, past = given.mode == "train", has("past_exp") or has("auto_resume")
    task = getattr(given, "downstream", None)
    untrained = task in UNTRAINED
    from_hub = past or getattr(given, "hub", None) == "huggingface"
    upload = "s3prl's upload needs huggingface_hub < 1.0; leave it out, and upload the folder with `hf upload`"
    for is_wrong, flag, why in (
        (has("push_to_hf_hub"), "--push_to_hf_hub", upload),
        (has("hf_hub_org"), "--hf_hub_org", upload),
        (has("verbose"), "--verbose", "s3prl's runner does not read it; leave it out"),
        (trains and has("evaluate_split"), "-t", "expected -m evaluate or -m inference, found -m train; leave it out"),
        (given.mode == "inference" and not has("evaluate_split"), "-t", "expected an audio file, found none"),
        (
            trains and untrained,
            "-m train",
            f"-d {task} trains nothing; give -m evaluate, -t dev or -t test, and a layer of the upstream with -l",
        ),
        *(
            (untrained and has(name), flag, f"expected none, since -d {task} has no checkpoints; leave it out")
            for name, flag in (("past_exp", "-e"), ("init_ckpt", "-i"), ("auto_resume", "-a"))
        ),
        (
            not (trains or past or has("init_ckpt") or untrained),
            f"-m {given.mode}",
            "expected the checkpoint of a run, found none; give -e DIR or -e CKPT (or -i CKPT)",
        ),
        (has("init_ckpt") and has("past_exp"), "-i", "expected -e or -i, found both; leave one out"),
        (has("auto_resume") and has("past_exp"), "-a", "expected -e or -a, found both; leave one out"),
        (has("expname") and has("expdir"), "-n", "expected -n NAME or -p DIR, found both; leave one out"),
        (
            not (has("expname") or has("expdir") or has("past_exp")),
            "-n",
            "expected -n NAME or -p DIR for the results, found neither",
        ),
        (not trains and not past and has("upstream_trainable"), "-f", f"expected -m train, found -m {given.mode}"),
        (has("upstream_model_name") and not from_hub, "--upstream_model_name", "expected --hub huggingface beside it"),
        (has("upstream_revision") and not from_hub, "--upstream_revision", "expected --hub huggingface beside it"),
        (has("backend") and not hasattr(given, "local_rank"), "--backend", "expected --local_rank beside it"),
        (given.mode == "inference" and has("skip_oov"), "--skip-oov", "expected a corpus to read, found -m inference"),
        (
            hasattr(given, "feature_cache_gb") and not has("feature_cache"),
            "--feature-cache-gb",
            "expected --feature-cache DIR beside it",
        ),
        (
            not 0 < getattr(given, "feature_cache_gb", 1) < math.inf,
            "--feature-cache-gb",
            f"expected more than 0, found {getattr(given, 'feature_cache_gb', None)}",
        ),
        (
            not 0 <= getattr(given, "seed", 0) < 2**32,
            "--seed",
            f"expected 0 to 4294967295, found {getattr(given, 'seed', None)}",
        ),
    ):
        if is_wrong:
            raise FitHubertError(f"{flag}: {why}")


def check_local_rank(local_rank: int | None) -> None:
    """Raise FitHubertError unless --local_rank comes from a launcher, on a machine with that GPU."""
    if local_rank is None:
        return
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise FitHubertError(
            f"--local_rank {local_rank}: expected a launcher's environment, found no {', '.join(missing)}; start it "
            "with torchrun, or leave it out"
        )
    try:
        torch.cuda.set_device(local_rank)  # as s3prl does
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FitHubertError(f"--local_rank {local_rank}: expected a GPU of that number, found: {reason}") from None
