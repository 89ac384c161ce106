"""Equal error rate, and the threshold that has it."""

from collections.abc import Sequence

import numpy as np


def equal_error_rate(labels: Sequence[int], scores: Sequence[float]) -> tuple[float, float]:
    """(EER in 0..1, threshold) of trials: where as many targets score below as others score above.

    Between two points of the ROC curve both are interpolated, as SUPERB's speaker verification does.
    """
    from sklearn.metrics import roc_curve  # takes more than a second, which every task's run would wait

    accepted, found, thresholds = roc_curve(labels, scores)  # false and true positives
    thresholds[0] = thresholds[1]  # "above every score", infinite in scikit-learn
    gap = (1 - found) - accepted  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    rate, threshold = (
        float(values[after - 1] + share * (values[after] - values[after - 1])) for values in (accepted, thresholds)
    )
    return rate, threshold
