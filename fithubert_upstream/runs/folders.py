"""Whether a folder is free for a run: what another run left there would be taken for the new one's."""

from pathlib import Path

from ..errors import FitHubertError
from .outputs import check_output_folder

# What runs of any job leave that is looked for later: as the newest, the best or the finished.
LEFT = (
    *("states-*.ckpt", "*-best.ckpt", "best-states-*.ckpt", "last.ckpt", "step-*.ckpt"),
    *("best.safetensors", "student.safetensors"),
)


def left_in(folder: str | Path) -> list[str]:
    """Names of what runs left in a folder."""
    return [path.name for pattern in LEFT for path in sorted(Path(folder).glob(pattern))]


def check_free(folder: str | Path, advice: str) -> None:
    """Raise FitHubertError when a folder holds what another run left; `advice` says what to do."""
    left = left_in(folder)
    if left:
        raise FitHubertError(f"{folder}: already holds another run ({left[0]}); {advice}")


def check_newest(states: str | Path) -> None:
    """Raise FitHubertError when a later checkpoint lies beside this `states-N.ckpt`: it would stay the newest."""
    states = Path(states)
    later = [path for path in states.parent.glob("states-*.ckpt") if _order(path) > _order(states)]
    if later:
        raise FitHubertError(
            f"{states}: expected the newest checkpoint of its folder, found the later "
            f"{max(later, key=_order).name}; resume from that one, or move the later ones away"
        )


def _order(states: Path) -> tuple[bool, int]:
    number = states.stem.rpartition("-")[2]
    return "epoch" in states.stem, int(number) if number.isdecimal() else -1


def check_start(past_exp: str | None, folder: str | None, name: str | None, resume: bool) -> None:
    """See that a training by s3prl's downstream runner begins in a free folder, or goes on from its newest checkpoint.

    Parameters
    ----------
    past_exp, folder, name, resume : values of -e, -p, -n and -a.
    """
    if past_exp is not None:
        if Path(past_exp).is_file():
            check_newest(past_exp)
        return
    if folder is None and not name:
        raise FitHubertError("expected -n NAME or -p FOLDER for the results, found neither")
    flag, folder = ("-n", f"result/downstream/{name}") if folder is None else ("-p", folder)
    check_output_folder(folder, flag)
    if not (resume and any(Path(folder).glob("states-*.ckpt"))):
        check_free(folder, "resume it (-a), choose another name with -n, or remove that folder")
