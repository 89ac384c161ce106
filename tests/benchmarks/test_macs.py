import pytest
import soundfile
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fithubert_upstream.benchmarks.baseline import PlainStudent
from fithubert_upstream.benchmarks.macs import count_macs, superb_macs, superb_samples
from fithubert_upstream.benchmarks.variants import MODELS, count_parameters, shape_of
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import STUDENT, TWO_LAYER


def counted(call) -> int:
    """What PyTorch itself counts, by the operations that really run."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def extra_frame(config: FitHubertConfig) -> int:
    """A stock positional convolution with an even kernel gives a frame that is then cut off."""
    return config.pos_conv_kernel * config.embed_dim * (config.embed_dim // config.pos_conv_groups)


@pytest.mark.parametrize("samples", [16000, 31999])
@pytest.mark.parametrize("name", ["hubert_base", "distilhubert"])
def test_hubert_as_pytorch_counts_it(name, samples):
    with torch.device("meta"):  # shapes only: nothing is computed
        model = MODELS[name].module().eval()
        waveforms = torch.zeros(1, samples)
    config = shape_of(model)
    assert count_macs(config, samples) == counted(lambda: model(waveforms)) - extra_frame(config)


@pytest.mark.parametrize("samples", [16000, 16320])  # an odd and an even number of frames
@pytest.mark.parametrize("config", [FitHubertConfig(), FitHubertConfig.from_dict(STUDENT | {"time_reduction": 3})])
def test_students_of_stock_modules_as_pytorch_counts_them(config, samples):
    with torch.device("meta"):
        student = PlainStudent(config).eval().requires_grad_(False)
        waveforms, mask = torch.zeros(1, samples), torch.ones(1, samples)
    assert count_macs(config, samples) == counted(lambda: student(waveforms, mask)) - extra_frame(config)


def test_prediction_heads_as_pytorch_counts_them():
    config = FitHubertConfig.from_dict(STUDENT | TWO_LAYER | {"head_layers": [4, 8, 12]})
    one = FitHubertConfig.from_dict(config.to_dict() | {"head_layers": [12]})
    head = nn.Sequential(nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 24))
    per_head = counted(lambda: head(torch.zeros(1, 49, 24)))
    assert count_macs(config, 16000) - count_macs(one, 16000) == 2 * per_head


def test_the_known_numbers():
    """Facts 1.7: at 7 s, 7.26 and 1.41 GMAC a second of audio; without time reduction 0.27 of HuBERT Base."""
    with torch.device("meta"):
        shapes = [shape_of(MODELS[name].module()) for name in ("hubert_base", "fithubert")]
    hubert, student = (count_macs(shape, 7 * 16000) for shape in shapes)
    assert hubert / 7e9 == pytest.approx(7.26, abs=0.01)
    assert student / 7e9 == pytest.approx(1.41, abs=0.01)
    assert student / hubert == pytest.approx(0.194, abs=0.001)
    whole = FitHubertConfig(time_reduction=1, head_layers=(12,))
    assert count_macs(whole, 7 * 16000) / hubert == pytest.approx(0.27, abs=0.01)


LAYERS = STUDENT | {"num_heads": [4, 0], "head_width": 8, "ffn_dim": [20, 0]}
VARIED = {
    "as they were": STUDENT,
    "pruned": LAYERS | {"num_heads": [3, 2], "ffn_dim": [0, 20]},
    "reused": STUDENT | {"reuse_attention": [2]},
    "relative positions": LAYERS | {"position_buckets": 16, "position_distance": 20, "kept_heads": [[0, 1, 2, 3], []]},
}


@pytest.mark.parametrize("options", VARIED.values(), ids=VARIED)
def test_layers_that_differ_as_pytorch_counts_them(options):
    config = FitHubertConfig.from_dict(options)
    bare = STUDENT | {"num_heads": [0, 0], "head_width": 8, "ffn_dim": [0, 0]}
    with torch.device("meta"):
        model, x = FitHubert(config).eval(), torch.zeros(1, 24, 32)  # the frames of a second at 40 ms
    handed = model.relative_positions(24) if model.relative_positions else None

    def layers():
        y, carried = x, handed
        for layer in model.layers:
            y, carried = layer(y, None, carried)

    expected = count_macs(config, 16000) - count_macs(FitHubertConfig.from_dict(bare), 16000)
    assert counted(layers) == expected


def test_the_family_as_published():
    """ARMHuBERT has 28 % of HuBERT Base's parameters and 30 % of its multiply-accumulates (its README)."""
    with torch.device("meta"):
        hubert, student = (MODELS[name].module() for name in ("hubert_base", "armhubert"))
    assert count_parameters(student) / 94.7e6 == pytest.approx(0.28, abs=0.005)
    macs = [count_macs(shape_of(module), 10 * 16000) for module in (hubert, student)]
    assert macs[1] / macs[0] == pytest.approx(0.30, abs=0.005)


def test_parameters():
    with torch.device("meta"):
        counts = [count_parameters(MODELS[name].module()) for name in ("hubert_base", "distilhubert", "fithubert")]
    assert counts == [94_371_712, 23_492_992, 22_030_784]


def test_what_is_too_short_counts_as_the_shortest():
    config = FitHubertConfig()
    shortest = FitHubert(FitHubertConfig.from_dict(STUDENT)).shortest
    assert count_macs(config, 1) == count_macs(config, shortest) < count_macs(config, shortest + 640)


def make_test_clean(folder, files: int, real: dict[int, int], rate: int = 16000) -> None:
    """So many files, empty but for those that the profile takes: {place: samples}."""
    for i in range(files):
        path = folder / "test-clean" / f"{i // 100:04}" / "1" / f"{i // 100:04}-1-{i % 100:04}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i in real:
            soundfile.write(path, [0.1] * real[i], rate)
        else:
            path.touch()


@pytest.mark.slow
def test_superb_takes_every_82nd_utterance(tmp_path):
    expected = {82 * i: 16000 + 640 * ((7 * i) % 32) for i in range(32)}
    make_test_clean(tmp_path, 2620, expected)
    samples = superb_samples(tmp_path)
    assert samples == sorted(expected.values())
    config = FitHubertConfig.from_dict(STUDENT)
    macs = superb_macs(config, reversed(samples))
    assert macs["total"] == sum(count_macs(config, length) for length in expected.values())
    assert macs["total"] == sum(value for name, value in macs.items() if name != "total")
    assert macs["short"] == sum(count_macs(config, length) for length in samples[:8]) < macs["longer"]


@pytest.mark.parametrize(("files", "rate", "found"), [(30, 16000, "found 30"), (2543, 8000, "found 8000 Hz")])
def test_a_test_clean_that_is_none(tmp_path, files, rate, found):
    make_test_clean(tmp_path, files, {0: 100}, rate)
    with pytest.raises(FitHubertError, match=found):
        superb_samples(tmp_path)
    with pytest.raises(FitHubertError, match="expected a sub-folder test-clean"):
        superb_samples(tmp_path / "test-clean")
