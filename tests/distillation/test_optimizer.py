import pytest
import torch

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.distillation.optimizer import OptimizerConfig, build_optimizer, learning_rate
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.settings.files import from_dict

from ..helpers.tiny import STUDENT

s3prl_compat.apply()
from s3prl import optimizers as s3prl_optimizers  # noqa: E402


def make_student() -> FitHubert:
    torch.manual_seed(0)
    return FitHubert(FitHubertConfig.from_dict(STUDENT))


def test_decays_what_s3prl_decays():
    student = make_student()
    theirs = s3prl_optimizers.get_grouped_parameters([student])
    ours = build_optimizer(student, OptimizerConfig()).param_groups
    for one, other in zip(ours, theirs, strict=True):
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]
        assert one["weight_decay"] == other["weight_decay"]
    assert len(ours[0]["params"]) > len(ours[1]["params"]) > 0


@pytest.mark.parametrize(("steps", "as_documented"), [(118_900, False), (200, True)])
def test_steps_as_the_authors_optimizer(steps, as_documented):
    """The same weights in the published run's warm-up; and in any run once the documented difference is made up for."""
    config, (beta1, beta2) = OptimizerConfig(), OptimizerConfig().betas
    ours, theirs = make_student(), make_student()
    optimizer = build_optimizer(ours, config)
    reference = s3prl_optimizers.get_AdamW_with_schedule(
        [theirs], lr=5e-4, total_steps=steps, warmup_proportion=0.05, betas=[beta1, beta2], eps=1e-6
    )
    draw = torch.Generator().manual_seed(1)
    for step in range(1, 41):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=draw) * 0.01
            other.grad = one.grad.clone()
        for group, decay in zip(optimizer.param_groups, (0.01, 0.0), strict=True):
            group["lr"] = learning_rate(config, step, steps)
            if as_documented:
                group["weight_decay"] = decay * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
                group["eps"] = config.eps / (1 - beta2**step) ** 0.5
        optimizer.step()
        reference.step()
    first = make_student()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, theirs.get_parameter(name), atol=1e-6, rtol=1e-6)
        assert not torch.equal(weight, first.get_parameter(name))


def test_learning_rate_rises_and_falls():
    config = OptimizerConfig(lr=1.0, warmup_proportion=0.2)
    rates = [learning_rate(config, step, 10) for step in range(1, 11)]
    assert rates == pytest.approx([0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0])
    assert learning_rate(OptimizerConfig(lr=1.0, warmup_proportion=0.0), 1, 10) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"betas": [0.9]}, "betas: expected 2 numbers"),
        ({"betas": [0.9, 1.0]}, "betas in [0, 1)"),
        ({"warmup_proportion": 1.0}, "warmup_proportion in [0, 1)"),
        ({"lr": -1.0}, "at least 0"),
    ],
)
def test_mistakes(change, words):
    with pytest.raises(FitHubertError) as caught:
        from_dict(OptimizerConfig, change, "optimizer")
    assert words in str(caught.value)
