"""`--hub huggingface` called functions that huggingface_hub no longer has: `HfApi.login`, `use_auth_token`."""

import sys

import pytest
import torch

from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import FitHubertError

from ..helpers import small_corpora

EXPERT = """
import torch

class UpstreamExpert(torch.nn.Module):
    def __init__(self, ckpt, model_config=None, **kwargs):
        super().__init__()
        self.scale = float(open(ckpt).read())

    def get_downsample_rates(self, key):
        return 320

    def forward(self, wavs):
        padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        frames = padded[:, : padded.size(1) // 320 * 320].unflatten(1, (-1, 320))
        return {"hidden_states": [self.scale * frames]}
"""
QUICK = (
    "config.runner.total_steps=1,,config.runner.eval_step=9,,config.runner.save_step=1,,"
    "config.downstream_expert.datarc.num_workers=0,,config.downstream_expert.datarc.batch_size=4"
)


@pytest.fixture
def argv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEECH_COMMANDS", str(small_corpora.speech_commands(tmp_path / "corpus")))
    task = ["-d", "speech_commands", "-c", "mini/ks.yaml", "-o", QUICK, "-n", "x"]
    return ["-m", "train", "--hub", "huggingface", "-u", "someone/model", *task]


def test_a_repository_is_fetched_and_trained_on(argv, tmp_path, monkeypatch):
    import huggingface_hub

    for name, text in (("expert.py", EXPERT), ("requirements.txt", "torch\n"), ("other.pt", "2")):
        (tmp_path / "repository").mkdir(exist_ok=True)
        (tmp_path / "repository" / name).write_text(text)
    asked = []

    def snapshot_download(repo_id, *, revision=None):
        asked.append((repo_id, revision))
        return str(tmp_path / "repository")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    more = ["--upstream_model_name", "other.pt", "--upstream_revision", "abc"]
    main([*argv, *more])
    assert torch.load("result/downstream/x/states-1.ckpt", weights_only=True)["Step"] == 1
    assert 0 <= main(["-m", "evaluate", "-e", "result/downstream/x"])["speech_commands/test-acc"] <= 1
    assert set(asked) == {("someone/model", "abc")}
    assert str(tmp_path / "repository") not in sys.path and "expert" not in sys.modules

    with pytest.raises(FitHubertError, match="found no model.pt in the repository"):
        main([*argv[:-1], "y"])
    with pytest.raises(FitHubertError, match="-k: expected none with --hub huggingface"):
        main([*argv[:-1], "y", "-k", "x"])
    with pytest.raises(FitHubertError, match="--feature-cache: .*--hub huggingface"):
        main([*argv[:-1], "y", "--feature-cache", "cache"])


def test_without_a_network_it_is_one_line(argv, monkeypatch):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise OSError("offline\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(FitHubertError, match="-u someone/model: expected a repository.*offline and more"):
        main(argv)


def test_torch_hubs_folder_is_as_before(argv, tmp_path):
    before = torch.hub.get_dir()
    flags = ["-m", "train", "-u", "fbank", *argv[6:], "--cache_dir", "cache"]
    main(flags)
    assert torch.hub.get_dir() == before
    args = torch.load("result/downstream/x/states-1.ckpt", weights_only=True)["Args"]
    assert args.cache_dir == str(tmp_path / "cache")
