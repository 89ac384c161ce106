"""A search of learning rates by s3prl's runner, one run after another, and by `fithubert superb`, side by side.

`python benchmarks/learning_rates.py OUTPUT -u fithubert_mini --librispeech DIR --splits TRAIN DEV TEST
--speech-commands DIR` runs PR and KS (mini configs) with five rates each. s3prl's own way is one process for every
rate, without feature cache and early stopping; what does not run on today's torchaudio is mended and nothing else, but
that files are read in the order of their names: s3prl's keyword spotting draws even dev by the order of files on disk.
Prints seconds, their ratio, and whether both give the same numbers with the chosen rate.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

from fithubert_upstream.downstream.checks import complete
from fithubert_upstream.superb.configs import Settings, task_changes, task_config
from fithubert_upstream.superb.run import parse_override
from fithubert_upstream.superb.running.search import SUPERB_RATES

TASKS = {"pr": ("ctc", "dev"), "ks": ("speech_commands", "dev")}


def s3prl_run(upstream: str, downstream: str, config: str, folder: str) -> None:
    """One training by s3prl's run_downstream.py; leaves what it logged in `folder`/scalars.json."""
    from fithubert_upstream.compat import s3prl as compat
    from fithubert_upstream.compat.runs import recorded_scalars, watched_scalars
    from fithubert_upstream.downstream.run import provide_modules
    from fithubert_upstream.upstream.hubconf import register

    compat.apply()
    compat.import_hub()
    register()
    provide_modules()
    from s3prl import run_downstream

    from fithubert_upstream.downstream.repairs.datasets import own_datasets

    logged: list[tuple[str, int | None, float]] = []
    flags = ["-m", "train", "-u", upstream, "-d", downstream, "-c", config, "-p", folder, "--device", "cpu"]
    sys.argv = ["run_downstream.py", *flags, "--seed", "1337"]
    with (
        own_datasets(downstream),
        recorded_scalars(),
        watched_scalars(lambda tag, value, step: logged.append((tag, step, value))),
    ):
        run_downstream.main()
    Path(folder, "scalars.json").write_text(json.dumps(logged))


def call(words: list[str], log: Path) -> None:
    """Run a command; what it prints goes to `log`."""
    with log.open("w") as file:
        subprocess.run(words, check=True, stdout=file, stderr=subprocess.STDOUT)


def s3prl_search(upstream: str, key: str, config: dict, output: Path) -> dict[float, dict[int, float]]:
    """Rate -> step -> result on dev, as s3prl logs it."""
    downstream, split = TASKS[key]
    curves = {}
    for rate in SUPERB_RATES:
        folder = output / f"{key}-{rate:g}"
        folder.mkdir(parents=True)
        config["optimizer"]["lr"] = rate
        (folder / "given.yaml").write_text(yaml.safe_dump(config))
        words = [sys.executable, __file__, "--one", upstream, downstream, str(folder / "given.yaml"), str(folder)]
        call(words, folder / "log")
        logged = json.loads((folder / "scalars.json").read_text())
        metric = {"pr": "per", "ks": "acc"}[key]
        curves[rate] = {step: value for tag, step, value in logged if tag.endswith(f"/{split}-{metric}")}
    return curves


def main(args: argparse.Namespace) -> None:
    overrides = tuple(parse_override(text) for text in args.override)
    splits = tuple(folders.split(",") for folders in args.splits)
    settings = Settings(overrides=overrides, splits=splits)
    variables = {"LIBRISPEECH": args.librispeech, "SPEECH_COMMANDS": args.speech_commands}
    rows = {}
    for key in TASKS:
        own = ["--skip-oov", "--tasks", key, "--lr", "search", "-u", args.upstream, "--splits", *args.splits]
        for text in args.override:
            own += ["--override", text] if text.startswith(f"{key}:") else []
        own += ["--librispeech", args.librispeech, "--speech-commands", args.speech_commands]
        started = time.perf_counter()
        words = [sys.executable, "-m", "fithubert_upstream", "superb", *own, "-o", str(args.output / "ours" / key)]
        (args.output / "ours").mkdir(parents=True, exist_ok=True)
        call(words, args.output / "ours" / f"{key}.log")
        ours = time.perf_counter() - started
        config = task_config(key, settings, task_changes(key, settings, args.output), variables)
        if key == "pr":
            config["downstream_expert"]["corpus"]["skip_oov"] = True
        complete(config)
        started = time.perf_counter()
        curves = s3prl_search(args.upstream, key, config, args.output / "s3prl")
        theirs = time.perf_counter() - started
        result = json.loads((args.output / "ours" / key / args.upstream / key / "result.json").read_text())
        dev = {int(step): value for step, value in result["dev"].items()}
        same = dev == {step: 100 * value for step, value in curves[result["lr"]].items()}
        rows[key] = {"ours": ours, "s3prl": theirs, "ratio": ours / theirs, "lr": result["lr"], "same": same}
        stopped = [f"{entry['lr']:g}" for entry in result["search"] if entry["stopped"]]
        print(
            f"{key}: s3prl {theirs:.0f} s, ours {ours:.0f} s, ratio {ours / theirs:.3f}; rate {result['lr']:g}, "
            f"stopped early {', '.join(stopped) or 'none'}; results on dev {'the same' if same else 'DIFFER'}",
            flush=True,
        )
    (args.output / "learning_rates.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        s3prl_run(*sys.argv[2:])
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("-u", "--upstream", default="fithubert_mini")
    parser.add_argument("--librispeech", required=True)
    parser.add_argument("--splits", nargs=3, default=["train", "dev", "test"])
    parser.add_argument("--speech-commands", required=True)
    parser.add_argument("--override", action="append", default=[])
    main(parser.parse_args())
