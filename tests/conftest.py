"""What every test shares: no network, one seed, one thread (OMP_NUM_THREADS says otherwise), the real recordings."""

import os
import signal
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a script's jobs in the background begin, and what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: threads that wait for each other take longer
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

REPO = Path(__file__).resolve().parent.parent
if method := os.environ.get("FITHUBERT_TEST_START_METHOD"):  # forkserver: Python 3.14's way, in older ones
    torch.multiprocessing.set_start_method(method, force=True)


def pytest_collection_modifyitems(items):
    """Whole jobs first, which take minutes: begun last, one of them would keep a single process waiting."""
    items.sort(key=lambda item: item.path.parent != REPO / "tests")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """What is remembered of audio files lies in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FITHUBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; the test is skipped where there is none."""
    folder = Path(os.environ.get("FITHUBERT_TEST_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder} (set FITHUBERT_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def family_data() -> Path:
    """The folder of tiny checkpoints by the authors' own code; the test is skipped where there is none."""
    folder = Path(os.environ.get("FITHUBERT_TEST_FAMILY", REPO.parent / "shared" / "family"))
    if not folder.is_dir():
        pytest.skip(f"no checkpoints of the family at {folder} (set FITHUBERT_TEST_FAMILY)")
    return folder


@pytest.fixture(scope="session")
def real_speech(real_data):
    """seconds -> (T,) samples of utterances of one speaker after another."""
    from fithubert_upstream.audio.waveforms import load_waveform

    paths = sorted((real_data / "LibriSpeech-excerpt" / "mini-test").rglob("*.flac"))

    def speech(seconds: float) -> torch.Tensor:
        parts, missing = [], round(16_000 * seconds)
        for path in paths:
            parts.append(load_waveform(path)[:missing])
            missing -= len(parts[-1])
            if not missing:
                break
        return torch.cat(parts)

    return speech
