"""`benchmarks/more_speakers.py`: seconds of speakers, and configs that a joint run takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from fithubert_upstream.downstream.joint_ks_sv.clips import read_speakers
from fithubert_upstream.downstream.joint_ks_sv.config import JointConfig

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "more_speakers.py"


@pytest.mark.slow
def test_more_speakers(tmp_path):
    rng = np.random.default_rng(0)
    for speaker in range(150):
        session = tmp_path / "wav" / f"id{speaker:03d}" / "1"
        session.mkdir(parents=True)
        soundfile.write(session / "a.flac", rng.normal(0, 0.1, 35000), 16000)  # two whole seconds
    argv = [sys.executable, str(SCRIPT), str(tmp_path / "wav"), str(tmp_path / "out")]
    subprocess.run(argv, check=True)

    found = {}
    for count in (20, 100):
        block = yaml.safe_load((tmp_path / "out" / f"{count}.yaml").read_text())["downstream_expert"]
        found[count] = read_speakers(JointConfig.from_dict(block).sv)
        assert len(found[count].speakers) == count and len(found[count].train) == 2 * count
    assert set(found[20].speakers) < set(found[100].speakers)
    assert found[20].test == found[100].test
    tried = {path.parent.name for trial in found[100].test for path in (trial.enrolment, trial.test)}
    assert len(tried) == 30 and not tried & set(found[100].speakers)

    soundfile.write(tmp_path / "wav" / "id000" / "1" / "a.flac", rng.normal(0, 0.1, 8000), 8000)
    told = subprocess.run([*argv[:-1], str(tmp_path / "again")], capture_output=True, text=True)
    assert told.returncode == 2 and "expected 16000 Hz, found 8000" in told.stderr
