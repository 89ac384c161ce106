"""`FitHubertModel` beside our own model: features, batches, arguments, precision."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from fithubert_upstream import (
    FitHubertForCTC,
    FitHubertForSequenceClassification,
    FitHubertModel,
    FitHubertModelConfig,
    load_fithubert,
)
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.huggingface.weights import from_student
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.tiny import RELATIVES, SMALL, STUDENT, TWO_LAYER, make_teacher

FAMILY = {
    "FitHuBERT": SMALL.to_dict(),
    "one head": SMALL.to_dict() | {"head_layers": [2]},
    "no head": SMALL.to_dict() | {"head_layers": []},
    "predictions": STUDENT | TWO_LAYER | {"head_layers": [1, 2], "hidden_states": ["layers"]},
    **RELATIVES,
}
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)


def wavs() -> list[torch.Tensor]:
    return [0.1 * torch.randn(size) for size in (9000, 5300, 1)]


def padded(waveforms: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    arrays = [wav.numpy() for wav in waveforms]
    return dict(EXTRACTOR(arrays, sampling_rate=16000, padding=True, return_tensors="pt"))


@pytest.mark.parametrize("kind", FAMILY)
def test_features_are_our_upstreams(kind, tmp_path):
    student = FitHubert(FitHubertConfig.from_dict(FAMILY[kind])).eval()
    save_fithubert(student, tmp_path / "student.safetensors")
    model = from_student(student)
    model.save_pretrained(tmp_path / "folder")
    model = FitHubertModel.from_pretrained(tmp_path / "folder")
    assert not model.training and model.config.student() == student.config
    waveforms = wavs()
    with torch.no_grad():
        expected = UpstreamExpert(tmp_path / "student.safetensors")(waveforms)
        found = model(**padded(waveforms), output_hidden_states=True)
        alone = model(waveforms[1][None])
    torch.testing.assert_close(found.last_hidden_state, expected["last_hidden_state"], rtol=0, atol=1e-4)
    assert model.config.hidden_size == found.last_hidden_state.size(2)
    assert isinstance(found.hidden_states, tuple) and len(found.hidden_states) == len(expected["hidden_states"])
    for state, other in zip(found.hidden_states, expected["hidden_states"], strict=True):
        torch.testing.assert_close(state, other, rtol=0, atol=1e-4)
    frames = alone.last_hidden_state.size(1)
    assert alone.hidden_states is None and frames == model._get_feat_extract_output_lengths(5300)
    torch.testing.assert_close(alone.last_hidden_state[0], found.last_hidden_state[1, :frames], rtol=0, atol=1e-4)
    assert not found.last_hidden_state[1, frames:].any()


@pytest.mark.slow
def test_padding_of_real_speech(real_speech):
    """Alone as in a batch; normalised waveforms, which are louder, are another input but hardly other features."""
    model = from_student(load_fithubert("fithubert_mini"))
    waveforms = [real_speech(3), real_speech(2)]
    normalising = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    with torch.no_grad():
        alone = [model(wav[None]).last_hidden_state[0] for wav in waveforms]
        together = model(**padded(waveforms)).last_hidden_state
        arrays = [wav.numpy() for wav in waveforms]
        batch = normalising(arrays, sampling_rate=16000, padding=True, return_tensors="pt")
        louder = model(**batch).last_hidden_state
    for features, row, other in zip(alone, together, louder, strict=True):
        torch.testing.assert_close(row[: len(features)], features, rtol=0, atol=1e-3)
        assert float(torch.cosine_similarity(features, other[: len(features)], dim=1).min()) > 0.98


def test_frame_counts_and_masks(student):
    model = from_student(student)
    lengths = torch.tensor([1, 400, 719, 720, 16000])
    assert model._get_feat_extract_output_lengths(lengths).tolist() == [1, 1, 1, 2, 49]
    assert model._get_feat_extract_output_lengths(16000) == 49
    mask = (torch.arange(16000) < lengths[:, None]).long()
    assert model._get_feature_vector_attention_mask(49, mask).sum(1).tolist() == [1, 1, 1, 2, 49]
    assert model.config.inputs_to_logits_ratio == 320


def test_a_tuple_where_it_is_wanted(student):
    model = from_student(student)
    wav = torch.randn(1, 4000)
    with torch.no_grad():
        (last,) = model(wav, return_dict=False)
        last, states = model(wav, output_hidden_states=True, return_dict=False)
        model.config.output_hidden_states = True
        assert torch.equal(model(wav).hidden_states[-1], states[-1]) and last.size(2) == 40


def test_precision(folder):
    wav = 0.1 * torch.randn(1, 8000)
    exact, model = (FitHubertModel.from_pretrained(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    with torch.no_grad():
        expected = exact(wav).last_hidden_state
        found = model(wav).last_hidden_state
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = exact(wav).last_hidden_state
    assert found.dtype == torch.bfloat16
    for features in (found, mixed):
        assert float(torch.cosine_similarity(features.float(), expected, dim=-1).min()) > 0.99


@pytest.mark.slow
def test_compiled(student):
    """By dynamo, without the compiler of what it finds, which takes minutes."""
    model = from_student(student)
    inputs = padded(wavs())
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        found = torch.compile(model, backend="eager")(**inputs).last_hidden_state
    torch.testing.assert_close(found, expected)


def test_placed_by_accelerate(folder):
    pytest.importorskip("accelerate")
    wav = torch.randn(1, 4000)
    model = FitHubertForCTC.from_pretrained(folder, device_map="auto")
    plain = FitHubertModel.from_pretrained(folder)
    device = model.device
    with torch.no_grad():
        torch.testing.assert_close(
            model.fithubert(wav.to(device)).last_hidden_state.cpu(), plain(wav).last_hidden_state, rtol=0, atol=1e-4
        )


def test_offloaded_weights_are_refused(folder, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = FitHubertModel.from_pretrained(folder)
    accelerate.disk_offload(model, tmp_path / "off", execution_device="cpu")
    with pytest.raises(FitHubertError, match="weights on a device, found offloaded ones"):
        model(torch.randn(1, 4000))


def test_new_weights_are_those_of_a_new_student():
    """Of a config alone, and where a checkpoint has none."""
    for kind in ("FitHuBERT", "relative positions", "predictions"):
        config = FitHubertModelConfig.of(FitHubertConfig.from_dict(FAMILY[kind]))
        model = FitHubertForSequenceClassification(config)
        fresh = dict(from_student(FitHubert(config.student())).named_parameters(prefix="fithubert"))
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter).all(), name
            spread = float(fresh[name].detach().std()) if name in fresh and fresh[name].numel() > 1 else 0
            if name.endswith(("weight", "direction", "gain")) and spread > 1e-3:
                assert 0.1 < float(parameter.detach().std()) / spread < 10, name


def test_a_checkpoint_without_some_weights(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: w for name, w in weights.items() if "pos_conv" not in name and "time_reduction" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    model = FitHubertModel.from_pretrained(folder)
    norm = model.student.pos_conv._norm()
    torch.testing.assert_close(model.student.pos_conv.gain.data, norm.data)
    assert 0.01 < float(model.student.time_reduction.weight.detach().std()) < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_values": torch.randn(4000)}, r"input_values \(B, T\) of at least one sample, found shape \(4000,\)"),
        ({"input_values": torch.zeros(1, 4000, dtype=torch.int16)}, "input_values of floats in"),
        ({"attention_mask": torch.ones(1, 3999)}, r"of input_values' shape \(1, 4000\), found \(1, 3999\)"),
        ({"attention_mask": torch.zeros(1, 4000)}, "at least one 1 in each row"),
        ({"attention_mask": torch.arange(4000)[None] > 9}, "padding_side right"),
        ({"output_attentions": True}, "keeps no attention maps"),
    ],
)
def test_wrong_inputs(student, change, message):
    with pytest.raises(FitHubertError, match=message):
        from_student(student)(**({"input_values": torch.randn(1, 4000)} | change))


def test_a_folder_of_another_model(tmp_path):
    make_teacher(tmp_path / "hubert")
    with pytest.raises(FitHubertError, match="expected config.json with model_type fithubert, found hubert"):
        FitHubertModel.from_pretrained(tmp_path / "hubert")


def test_configs_that_make_no_student(folder):
    with pytest.raises(FitHubertError, match="config.json: expected embed_dim a multiple of num_heads"):
        FitHubertModelConfig(num_attention_heads=7)
    with pytest.raises(FitHubertError, match="expected mask_time_prob 0"):
        FitHubertForCTC.from_pretrained(folder, mask_time_prob=0.05)
    with pytest.raises(ValueError, match="does not support"):
        FitHubertModel.from_pretrained(folder).gradient_checkpointing_enable()


def test_options_on_the_way(folder):
    """Those that HuBERT's users give to from_pretrained."""
    options = {"attention_dropout": 0.2, "hidden_dropout": 0.3, "feat_proj_dropout": 0.4, "mask_time_prob": 0.0}
    model = FitHubertForCTC.from_pretrained(folder, **options, vocab_size=9, ctc_loss_reduction="mean")
    config = model.fithubert.student.config
    assert (config.attention_dropout, config.dropout, config.dropout_input) == (0.2, 0.3, 0.4)
    assert model.lm_head.out_features == 9


def test_ctc_loss_is_that_of_each_utterance(student, folder):
    model = FitHubertForCTC.from_pretrained(folder, vocab_size=6, ctc_loss_reduction="sum").eval()
    waveforms = wavs()[:2]
    labels = torch.tensor([[1, 2, 5], [3, -100, -100]])
    with torch.no_grad():
        whole = model(**padded(waveforms), labels=labels)
        parts = [model(wav[None], labels=row[row >= 0][None]).loss for wav, row in zip(waveforms, labels, strict=True)]
        slow = torch.nn.CTCLoss(reduction="sum")(
            model(waveforms[0][None]).logits[0].log_softmax(-1), labels[0], [27], [3]
        )
    torch.testing.assert_close(whole.loss, sum(parts), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts[0], slow, rtol=1e-4, atol=1e-4)
    with pytest.raises(FitHubertError, match="expected labels below vocab_size 6, found 6"):
        model(waveforms[0][None], labels=torch.tensor([[6]]))


@pytest.mark.parametrize("weighted", [False, True])
def test_classification_does_not_hear_the_padding(folder, weighted):
    model = FitHubertForSequenceClassification.from_pretrained(
        folder, num_labels=3, use_weighted_layer_sum=weighted
    ).eval()
    waveforms = wavs()
    with torch.no_grad():
        together = model(**padded(waveforms), labels=torch.tensor([0, 1, 2]))
        alone = torch.cat([model(wav[None]).logits for wav in waveforms])
    assert together.hidden_states is None
    torch.testing.assert_close(together.logits, alone, rtol=0, atol=1e-4)
    torch.testing.assert_close(together.loss, torch.nn.functional.cross_entropy(alone, torch.arange(3)))


def test_what_is_frozen(folder):
    model = FitHubertForCTC.from_pretrained(folder)
    model.freeze_feature_encoder()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and all(name.startswith("fithubert.student.feature_extractor.") for name in frozen)
    model.freeze_base_model()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"lm_head.weight", "lm_head.bias"}


def test_numpy_input_of_the_extractor_is_taken_as_it_is(student):
    inputs = EXTRACTOR([np.ones(500, np.float32), np.ones(300, np.float32)], padding=True, return_tensors="pt")
    assert inputs["input_values"][1].tolist() == [1.0] * 300 + [0.0] * 200
    assert inputs["attention_mask"].sum(1).tolist() == [500, 300]
