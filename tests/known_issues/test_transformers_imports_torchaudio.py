"""transformers imports torchaudio wherever one is installed, and dies with it beside a CPU-only torch:
a teacher could be loaded only after something else had mended torchaudio."""

import subprocess
import sys

import pytest

from ..helpers.tiny import make_teacher


@pytest.mark.slow
def test_a_teacher_loads_first_thing_in_a_process(tmp_path):
    make_teacher(tmp_path / "t")
    code = (
        "from fithubert_upstream.teachers.teachers import TransformersTeacher;"
        f"assert TransformersTeacher({str(tmp_path / 't')!r}).width == 24"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
