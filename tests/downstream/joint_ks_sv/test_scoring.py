import numpy as np
import pytest

from fithubert_upstream.downstream.joint_ks_sv.scoring import equal_error_rate


@pytest.mark.parametrize("seed", range(5))
def test_as_s3prls_own(seed):
    from s3prl.downstream.sv_voxceleb1.utils import EER

    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 300)
    scores = np.tanh(draw.normal(labels, 1.0))
    rate, threshold = equal_error_rate(labels, scores)
    assert rate == pytest.approx(EER(labels, scores)[0], abs=1e-6)
    assert np.mean(scores[labels == 1] < threshold) == pytest.approx(rate, abs=0.02)  # misses
    assert np.mean(scores[labels == 0] >= threshold) == pytest.approx(rate, abs=0.02)  # false alarms


def test_the_ends():
    assert equal_error_rate([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == (0.0, pytest.approx(0.8))
    rate, threshold = equal_error_rate([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9])
    assert rate == 1.0 and np.isfinite(threshold)
    assert equal_error_rate([0, 1], [0.5, 0.5])[0] == 0.5
