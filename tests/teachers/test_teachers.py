import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import HubertTeacher, TransformersTeacher, load_teacher

from ..helpers.live_teachers import HEADS, LAYERS, WIDTH, live_layers, make_live, refused
from ..helpers.tiny import SMALL, make_teacher


def save_ours(path, **changes) -> str:
    save_fithubert(FitHubert(FitHubertConfig.from_dict(SMALL.to_dict() | changes)), path)
    return str(path)


def write_s3prl_wavlm(path) -> str:
    """A WavLM in Microsoft's own container, which s3prl's `wavlm_local` takes."""
    register()
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    cfg = {
        "encoder_layers": LAYERS,
        "encoder_embed_dim": WIDTH,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": HEADS,
        "conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
    }
    torch.save({"cfg": cfg, "model": WavLM(WavLMConfig(cfg)).state_dict()}, path)
    return str(path)


def write_torchaudio_wavlm(path, live) -> str:
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    torch.save(import_huggingface_model(live).state_dict(), path)
    return str(path)


@pytest.fixture
def small_torchaudio_wavlm(monkeypatch):
    """torchaudio's `wavlm_base` of the size of `make_live`."""
    import torchaudio
    from torchaudio.models import wavlm_model

    def wavlm_base():
        conv = [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
        sizes = (WIDTH, 0.1, 16, 4, LAYERS, HEADS, 320, 800, 0.1, 96, 0.1, 0.1, False, 0.1, None)
        return wavlm_model("group_norm", conv, False, *sizes)

    monkeypatch.setattr(torchaudio.models, "wavlm_base", wavlm_base)


@pytest.fixture(params=["hubert", "wav2vec2", "wavlm", "torchaudio wavlm", "s3prl wavlm"])
def teacher(request, tmp_path):
    if request.param == "s3prl wavlm":
        ckpt = write_s3prl_wavlm(tmp_path / "wavlm.pt")
        return load_teacher(TeacherConfig(source="s3prl", model="wavlm_local", ckpt=ckpt))
    if request.param == "torchaudio wavlm":
        request.getfixturevalue("small_torchaudio_wavlm")
        ckpt = write_torchaudio_wavlm(tmp_path / "wavlm.pth", make_live("wavlm"))
        return load_teacher(TeacherConfig(source="torchaudio", model="WAVLM_BASE_PLUS", ckpt=ckpt))
    make_live(request.param).save_pretrained(tmp_path)
    return load_teacher(TeacherConfig(model=str(tmp_path)))


# --- which layer is which ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_target_l_is_the_output_of_the_lth_transformer_layer(tmp_path, kind):
    live = make_live(kind)
    live.save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(model=str(tmp_path)))
    assert isinstance(teacher, TransformersTeacher if kind == "wavlm" else HubertTeacher)
    assert (teacher.num_layers, teacher.width) == (LAYERS, WIDTH)
    wav = torch.randn(1, 8000)
    layers = live_layers(live, wav)
    for target, layer in zip(teacher(wav), layers, strict=True):
        torch.testing.assert_close(target, layer, atol=1e-5, rtol=0)
    assert min((one - other).abs().max() for one, other in zip(layers, layers[1:], strict=False)) > 0.1


def test_torchaudios_wavlm_is_that_of_transformers(tmp_path, small_torchaudio_wavlm):
    live = make_live("wavlm")
    ckpt = write_torchaudio_wavlm(tmp_path / "wavlm.pth", live)
    teacher = load_teacher(TeacherConfig(source="torchaudio", model="WAVLM_BASE", ckpt=ckpt))
    wav = torch.randn(1, 8000)
    for target, layer in zip(teacher(wav), live_layers(live, wav), strict=True):
        torch.testing.assert_close(target, layer, atol=1e-5, rtol=0)


def test_s3prls_other_upstreams_run_as_they_are(tmp_path):
    ckpt = write_s3prl_wavlm(tmp_path / "wavlm.pt")
    teacher = load_teacher(TeacherConfig(source="s3prl", model="wavlm_local", ckpt=ckpt))
    outputs = []
    for layer in teacher.upstream.model.encoder.layers:
        layer.register_forward_hook(lambda module, args, output: outputs.append(output[0].transpose(0, 1)))
    for target, output in zip(teacher(torch.randn(1, 8000)), outputs, strict=True):
        assert torch.equal(target, output)


def test_depth_gives_the_first_layers(teacher):
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    for padding in (None, lengths):
        layers = teacher(wavs, padding)
        some = teacher(wavs, padding, depth=2)
        assert len(layers) == LAYERS and len(some) == 2
        for one, other in zip(some, layers, strict=False):
            assert torch.equal(one, other)


def test_our_own_model_stops_at_depth(tmp_path):
    teacher = load_teacher(
        TeacherConfig(source="fithubert", model=save_ours(tmp_path / "t.safetensors", time_reduction=1))
    )
    teacher.model.layers[1].register_forward_hook(lambda *_: pytest.fail("layer 2 ran"))
    assert len(teacher(torch.randn(1, 8000), depth=1)) == 1


# --- one utterance, alone and in a batch -------------------------------------------------------------------


def test_targets_do_not_depend_on_the_batch(teacher):
    sizes = [8000, 7999, 5000, 721, 400]
    wavs = torch.randn(len(sizes), 8000)  # what lies past an utterance's end is no zero
    batch = teacher(wavs, torch.tensor(sizes))
    for i, n in enumerate(sizes):
        for one, many in zip(teacher(wavs[i : i + 1, :n]), batch, strict=True):
            frames = (n - 400) // 320 + 1
            assert one.shape[:2] == (1, frames) and many.shape[:2] == (len(sizes), 24)
            torch.testing.assert_close(many[i, :frames], one[0], atol=1e-4, rtol=0)
            assert not many[i, frames:].any()


@pytest.mark.parametrize(("samples", "frames"), [(16000, 49), (16079, 49), (16080, 50), (8321, 25), (719, 1), (400, 1)])
def test_frames_are_those_of_the_live_model(tmp_path, samples, frames):
    live = make_live()
    live.save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(model=str(tmp_path)))
    wav = torch.randn(1, samples)
    for target, layer in zip(teacher(wav), live_layers(live, wav), strict=True):
        assert target.shape == (1, frames, WIDTH)
        torch.testing.assert_close(target, layer, atol=1e-5, rtol=0)


def test_less_than_a_frame_is_one_frame(tmp_path):
    teacher = load_teacher(TeacherConfig(model=str(make_teacher(tmp_path / "t"))))
    assert teacher(torch.randn(1, 100))[-1].shape == (1, 1, 24)


def test_stays_frozen_and_in_eval(teacher):
    torch.nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert {p.dtype for p in teacher.parameters()} == {torch.float32}
    wav = torch.randn(1, 8000, requires_grad=True)
    layers = teacher(wav)
    assert not any(layer.requires_grad for layer in layers)
    assert torch.equal(layers[-1], teacher(wav)[-1])


def test_loading_draws_no_random_numbers(tmp_path):
    path = save_ours(tmp_path / "t.safetensors", time_reduction=1)
    before = torch.get_rng_state()
    load_teacher(TeacherConfig(source="fithubert", model=path))
    assert torch.equal(torch.get_rng_state(), before)


def test_halves_are_computed_in_float32(tmp_path):
    for kind in ("hubert", "wavlm"):
        live = make_live(kind).half()
        live.save_pretrained(tmp_path / kind)
        teacher = load_teacher(TeacherConfig(model=str(tmp_path / kind)))
        wav = torch.randn(1, 8000)
        for target, layer in zip(teacher(wav), live_layers(live.float(), wav), strict=True):
            torch.testing.assert_close(target, layer, atol=1e-5, rtol=0)


# --- our own files, and torchaudio's downloads -------------------------------------------------------------


@pytest.mark.parametrize("heads", [[], None])
def test_a_model_of_ours_as_teacher(tmp_path, heads):
    path = save_ours(tmp_path / "t.safetensors", time_reduction=1, head_layers=heads)
    teacher = load_teacher(TeacherConfig(source="fithubert", model=path))
    assert (teacher.num_layers, teacher.width) == (SMALL.num_layers, SMALL.embed_dim)
    assert not any(name.startswith("model.heads") for name in teacher.state_dict())
    wav = torch.randn(1, 8000)
    with torch.no_grad():
        expected, _ = teacher.model.encode(wav)
    for target, layer in zip(teacher(wav), expected, strict=True):
        assert torch.equal(target, layer)


def test_an_embedded_model_by_name(tmp_path, monkeypatch):
    from fithubert_upstream import assets

    path = save_ours(tmp_path / "t.safetensors", time_reduction=1)
    monkeypatch.setattr(assets, "find", {"hubert_mini": path}.__getitem__)
    teacher = load_teacher(TeacherConfig(source="fithubert", model="hubert_mini"))
    assert (teacher.name, teacher.num_layers) == ("hubert_mini", SMALL.num_layers)


@pytest.mark.parametrize(("bundle", "kind"), [("HUBERT_BASE", "hubert"), ("WAVLM_BASE", "wavlm")])
def test_a_bundle_of_torchaudio_by_name(monkeypatch, bundle, kind):
    import torchaudio
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    live = make_live(kind)

    class Bundle:
        def get_model(self):  # the real one downloads
            return import_huggingface_model(live)

    monkeypatch.setattr(torchaudio.pipelines, bundle, Bundle())
    teacher = load_teacher(TeacherConfig(source="torchaudio", model=bundle))
    wav = torch.randn(1, 8000)
    for target, layer in zip(teacher(wav), live_layers(live, wav), strict=True):
        torch.testing.assert_close(target, layer, atol=1e-5, rtol=0)


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TeacherConfig(model="/nowhere/at/all"), ["/nowhere/at/all", "transformers directory"]),
        (TeacherConfig(source="s3prl", model="hubert_bse"), ["hubert_bse", "s3prl.hub"]),
        (TeacherConfig(source="s3prl", model="hubert_local", ckpt="/no.pt"), ["/no.pt"]),
        (TeacherConfig(source="s3prl", model="fbank"), ["fbank", "hidden_states", "1"]),
        (TeacherConfig(source="s3prl", model="fithubert"), ["one of our own models", "source: fithubert"]),
        (TeacherConfig(source="torchaudio", model="HUBERT_LARGE"), ["HUBERT_LARGE", "HUBERT_BASE"]),
        (TeacherConfig(source="torchaudio", model="WAVLM_BASE", ckpt="/no.pth"), ["/no.pth", "found none"]),
        (TeacherConfig(source="fithubert", model="hubert_maxi"), ["hubert_maxi"]),
    ],
)
def test_a_teacher_that_is_not_there(config, words):
    refused(config, *words)


def test_a_source_that_is_not_there():
    with pytest.raises(FitHubertError, match="torchaudio, fairseq, fithubert, whisper, speaker, found espnet"):
        TeacherConfig(source="espnet")


def test_a_file_that_s3prl_cannot_read(tmp_path):
    torch.save({"model": {}}, tmp_path / "fairseq.pt")
    config = TeacherConfig(source="s3prl", model="hubert_local", ckpt=str(tmp_path / "fairseq.pt"))
    refused(config, "hubert_local", "fairseq.pt", "task_cfg")


def test_torchaudios_wavlm_short_of_a_weight(tmp_path, small_torchaudio_wavlm):
    ckpt = write_torchaudio_wavlm(tmp_path / "wavlm.pth", make_live("wavlm"))
    state = torch.load(ckpt)
    del state["encoder.transformer.layers.1.final_layer_norm.bias"]
    torch.save(state, ckpt)
    refused(TeacherConfig(source="torchaudio", model="WAVLM_BASE", ckpt=ckpt), "Missing", "1.final_layer_norm.bias")


def test_a_student_is_no_teacher(tmp_path):
    refused(TeacherConfig(source="fithubert", model=save_ours(tmp_path / "s.safetensors")), "time_reduction 1, found 2")


def test_a_teacher_of_another_kind(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(tmp_path)
    refused(TeacherConfig(model=str(tmp_path)), "found bert")


def test_a_teacher_of_another_frame_rate(tmp_path):
    wavlm = make_teacher(tmp_path / "t", "wavlm", conv_stride=(5, 2, 2, 2, 2, 2, 1))
    refused(TeacherConfig(model=str(wavlm)), "expected layers of 49 frames")
