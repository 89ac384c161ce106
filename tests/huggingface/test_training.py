"""Fine-tuning on generated tones: Trainer with both heads, and LoRA."""

import pytest
import torch

from fithubert_upstream import FitHubertForCTC, FitHubertForSequenceClassification, FitHubertModel
from fithubert_upstream.errors import FitHubertError

pytest.importorskip("accelerate")
STEPS = 30


@pytest.fixture(autouse=True)
def own_precision(monkeypatch):
    """accelerate remembers the precision of a process's first Trainer."""
    from accelerate.state import AcceleratorState

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # so that what is set here goes again
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Tones(torch.utils.data.Dataset):
    """16 utterances of one or two tones; the label says which."""

    def __init__(self, ctc: bool):
        draw = torch.Generator().manual_seed(0)
        time = torch.arange(6400) / 16000
        self.items = []
        for i in range(16):
            label = i % 2
            tone = torch.sin(2 * torch.pi * (300 + 1200 * label) * time[: 6400 - 100 * i])
            wav = 0.3 * tone + 0.01 * torch.randn(len(tone), generator=draw)
            self.items.append({"input_values": wav, "labels": [1 + label] if ctc else label})

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def collate(items):
    wavs = [item["input_values"] for item in items]
    mask = [torch.ones(len(wav), dtype=torch.long) for wav in wavs]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_values": pad(wavs, batch_first=True),
        "attention_mask": pad(mask, batch_first=True),
        "labels": torch.tensor([item["labels"] for item in items]),
    }


def train(model, folder, ctc, **options):
    """Losses of the steps, by transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_steps=STEPS,
        remove_unused_columns=False,
        **options,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Tones(ctc), data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
def test_ctc(folder, tmp_path, bf16):
    model = FitHubertForCTC.from_pretrained(folder, vocab_size=3, ctc_loss_reduction="mean")
    model.freeze_feature_encoder()
    kept = model.fithubert.student.feature_extractor.convs[0].weight.clone()
    losses = train(model, tmp_path / "run", True, bf16=bf16)
    assert len(losses) == STEPS and sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert torch.equal(model.fithubert.student.feature_extractor.convs[0].weight, kept)
    again = FitHubertForCTC.from_pretrained(tmp_path / "run" / f"checkpoint-{STEPS}")
    assert (tmp_path / "run" / f"checkpoint-{STEPS}" / "modeling_fithubert.py").is_file()
    weights = model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in again.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_classification(folder, tmp_path, weighted):
    model = FitHubertForSequenceClassification.from_pretrained(folder, num_labels=2, use_weighted_layer_sum=weighted)
    losses = train(model, tmp_path / "run", False)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.slow
def test_lora_trains_what_it_should(folder, tmp_path):
    peft = pytest.importorskip("peft")
    base = FitHubertForCTC.from_pretrained(folder, vocab_size=3, ctc_loss_reduction="mean")
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    names = ["q_proj", "k_proj", "v_proj", "out_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=names, modules_to_save=["lm_head"])
    model = peft.get_peft_model(base, config)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = base.config.num_hidden_layers
    assert len([name for name in trained if "lora_A" in name]) == len(names) * layers
    assert all("lora_" in name or "lm_head.modules_to_save" in name for name in trained)

    losses = train(model, tmp_path / "run", True)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    adapters = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert len(adapters) == len(names) * layers and all(bool(p.any()) for p in adapters)  # each was trained
    wav = torch.randn(1, 4000)
    with torch.no_grad():
        tuned = model.eval()(wav).logits
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(wav).logits, tuned, rtol=0, atol=1e-4)
    changed = {name for name, weight in merged.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and all(name.startswith("lm_head") or name.split(".")[-2] in names for name in changed)
    assert all(name.endswith("weight") or name.startswith("lm_head") for name in changed)


def test_lora_on_convolutions_is_refused(folder):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(FitHubertModel.from_pretrained(folder), peft.LoraConfig(target_modules=["convs.1"]))
    with pytest.raises(FitHubertError, match="plain convolutions in the feature extractor, found Conv1d; leave them"):
        model(torch.randn(1, 4000))


def test_every_parameter_has_a_gradient(folder):
    """Of what is used: the last head, not those of other layers."""
    model = FitHubertForCTC.from_pretrained(folder, vocab_size=3)
    model(torch.randn(2, 6000), labels=torch.tensor([[1], [2]])).loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    others = ("fithubert.student.heads.1.", "fithubert.student.heads.2.")
    assert without and all(name.startswith(others) for name in without)
