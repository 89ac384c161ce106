import pytest
import torch
from torch.func import functional_call

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.pruning.gates import Gates, Masks
from fithubert_upstream.pruning.shrink import gated_weights, shrink
from fithubert_upstream.pruning.students import States, copy_of

from ..helpers.pruning import TEACHER, make_model, settle, slow_gated
from ..helpers.tiny import RELATIVES

WITHOUT_NORM = FitHubertConfig.from_dict(RELATIVES["pruned layers"])  # a DPHuBERT, uneven already, with a scale


def gated(student, masks, waveforms, lengths=None):
    weights = {f"model.{name}": weight for name, weight in gated_weights(student, masks).items()}
    with torch.no_grad():
        return functional_call(States(student).eval(), weights, (waveforms, lengths))


@pytest.fixture(params=[(TEACHER, 1), (TEACHER, 2), (WITHOUT_NORM, 1)], ids=["even", "time reduction", "uneven"])
def student(request):
    config, time_reduction = request.param
    return copy_of(make_model(config), time_reduction).eval()


@pytest.mark.parametrize("drawn", [False, True])
def test_a_small_model_gives_what_the_gated_one_gives(student, drawn):
    masks = settle(Gates(student.config)).train(drawn)()
    masks = Masks(*([mask.detach() for mask in part] for part in masks))
    small = shrink(student, masks)
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    with torch.no_grad():
        states, frames = States(small)(waveforms, lengths)
    expected, wanted = gated(student, masks, waveforms, lengths)
    assert torch.equal(frames, wanted) and not torch.equal(frames[:1], frames[1:])
    for number, (one, other) in enumerate(zip(states, expected, strict=True)):
        rate = student.config.time_reduction if number else 1
        for item, count in enumerate((frames // rate).tolist()):
            torch.testing.assert_close(one[item, :count], other[item, :count], atol=2e-4, rtol=1e-4, msg=str(number))
    assert small.config.layer_heads[0] == 0 == small.config.layer_ffn_dims[2]
    assert sum(p.numel() for p in small.parameters()) < 0.8 * sum(p.numel() for p in student.parameters())
    assert not small.training and all(p.requires_grad for p in small.parameters())


def test_gates_by_loops_over_units(student):
    masks = settle(Gates(student.config))()
    wav = torch.randn(6000)
    states, _ = gated(student, masks, wav[None])
    with torch.no_grad():
        projection, layers = slow_gated(student, masks, wav)
    for one, other in zip(states, [projection, *layers], strict=True):
        torch.testing.assert_close(one[0], other, atol=2e-4, rtol=1e-4)


def test_with_all_gates_open_the_student_is_its_teacher():
    teacher = make_model()
    student = copy_of(teacher).eval()
    channels = [channels for channels, _, _ in TEACHER.conv_layers]
    masks = Masks([torch.ones(n) for n in channels], [torch.ones(4)] * 3, [torch.ones(20)] * 3)
    waveforms = torch.randn(2, 6000)
    with torch.no_grad():
        expected, _ = States(teacher)(waveforms)
    states, _ = gated(student, masks, waveforms)
    for one, other in zip(states, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_small_model_is_a_student_like_any_other(student, tmp_path):
    small = shrink(student, settle(Gates(student.config))())
    save_fithubert(small, tmp_path / "small.safetensors")
    loaded = load_fithubert(tmp_path / "small.safetensors")
    assert loaded.config == small.config
    layer_0 = ("projection",) if small.config.time_reduction == 1 else ()
    assert loaded.config.hidden_states == (*layer_0, "layers")
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in small.state_dict().items())


@pytest.mark.parametrize(
    ("part", "message"), [("convs", "a channel left in convolution 1"), ("layers", "a head or an FFN unit left")]
)
def test_nothing_left_is_refused(part, message):
    student = copy_of(make_model())
    gates = Gates(student.config).eval()
    closed = gates.convs if part == "convs" else (*gates.heads, *gates.ffns)
    with torch.no_grad():
        for gate in closed:
            gate.log_alpha.fill_(-20.0)
    with pytest.raises(FitHubertError, match=message):
        shrink(student, gates())
