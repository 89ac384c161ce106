import pytest

from fithubert_upstream import FitHubert, FitHubertConfig
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.names import Upstream, digest_of, parse_upstream
from fithubert_upstream.superb.upstreams import Size, size_of

from ..helpers.tiny import STUDENT


def test_the_digest_of_a_folder_changes_with_its_files(tmp_path):
    folder = tmp_path / "teacher"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    digests = {digest_of(str(folder))}
    (folder / "sub" / "weights").write_text("1")
    digests.add(digest_of(str(folder)))
    (folder / "sub" / "weights").write_text("2")
    digests.add(digest_of(str(folder)))
    (folder / "sub" / "weights").rename(folder / "sub" / "model")
    digests.add(digest_of(str(folder)))
    assert len(digests) == 4 and digest_of("facebook/hubert-base-ls960") == "facebook/hubert-base-ls960"


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("fbank", Upstream("fbank", "fbank")),
        ("base=hubert_base", Upstream("base", "hubert_base")),
        ("hubert_base@hidden_state_3", Upstream("hubert_base", "hubert_base", None, "hidden_state_3")),
        ("s-1.0=fithubert:a/s.safetensors@last", Upstream("s-1.0", "fithubert", "a/s.safetensors", "last")),
        ("fithubert:lr=1/s.ckpt", Upstream("fithubert", "fithubert", "lr=1/s.ckpt")),
        ("t=x:https://a@b.c/d=e?f", Upstream("t", "x", "https://a@b.c/d=e?f")),
        ("x:C:\\a.ckpt@y", Upstream("x", "x", "C:\\a.ckpt", "y")),
    ],
)
def test_upstreams_are_read(text, upstream):
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize(
    "text", ["", "=fbank", "a/b=fbank", "..=fbank", "fbank@", "fithubert:", "a=", "two words", "-x=y"]
)
def test_upstreams_that_cannot_be_read(text):
    with pytest.raises(FitHubertError, match=r"expected \[LABEL=\]NAME\[:CKPT\]\[@FEATURE\]"):
        parse_upstream(text)


def test_parameters_of_real_upstreams(tmp_path):
    model = FitHubert(FitHubertConfig.from_dict(STUDENT))
    ckpt = str(tmp_path / "student.safetensors")
    save_fithubert(model, ckpt)
    assert size_of(Upstream("fbank", "fbank")) == Size(0, 100 * 240 * 4)
    last, whole = (size_of(Upstream("s", "fithubert", ckpt, name)) for name in ("last_hidden_state", None))
    config = FitHubertConfig.from_dict(STUDENT)
    assert last.parameters == whole.parameters == sum(p.numel() for p in model.parameters())
    assert last.feature_bytes == 50 * config.head_dim * 4
    assert whole.feature_bytes == config.num_layers * 50 * config.embed_dim * 4
    with pytest.raises(FitHubertError, match="expected a feature named last_state, found .*last_hidden_state"):
        size_of(Upstream("s", "fithubert", ckpt, "last_state"))
    with pytest.raises(FitHubertError, match="nowhere.safetensors"):
        size_of(Upstream("s", "fithubert", str(tmp_path / "nowhere.safetensors")))
    with pytest.raises(FitHubertError, match="nearest: .*fithubert"):
        size_of(Upstream("s", "fithubrt", ckpt))
