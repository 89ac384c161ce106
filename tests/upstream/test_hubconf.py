import functools
import hashlib
import http.server
import subprocess
import sys
import threading

import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.checkpoints.releases import RELEASES
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream import hubconf

from ..conftest import REPO
from ..helpers.family import ARM, MASK, STAR, write_distilhubert, write_lightning
from ..helpers.official import write_official
from ..helpers.tiny import SMALL


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(tmp_path):
    """A web server on a folder: (its folder, its URL, the list of requested paths)."""
    folder = tmp_path / "www"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if self.path == "/broken_off":  # says 4000 bytes, sends 4
                self.send_response(200)
                self.send_header("Content-Length", "4000")
                self.end_headers()
                self.wfile.write(b"half")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}", requests
    httpd.shutdown()
    httpd.server_close()


def kept(cache):
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock") if cache.is_dir() else []


def test_url_is_downloaded_once_and_again_on_refresh(server, cache):
    folder, url, requests = server
    save_fithubert(FitHubert(SMALL), folder / "s.safetensors")
    for _ in range(2):
        upstream = hubconf.fithubert(f"{url}/s.safetensors")
    assert upstream.model.config == SMALL
    assert requests == ["/s.safetensors"] and len(kept(cache)) == 1
    hubconf.fithubert_url(f"{url}/s.safetensors", refresh=True)
    assert requests == ["/s.safetensors"] * 2 and len(kept(cache)) == 1


def test_file_url(tmp_path, cache):
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    assert hubconf.fithubert_url((tmp_path / "s.safetensors").as_uri()).model.config == SMALL


def test_official_url_is_converted_on_arrival(server, cache):
    folder, url, _ = server
    write_official(folder)
    upstream = hubconf.fithubert_url(f"{url}/official.ckpt", f"{url}/official.yaml")
    assert upstream.model.config.num_layers == 3
    assert [name.endswith(".safetensors") for name in kept(cache)] == [True]


@pytest.mark.parametrize("name", ["fithubert_960h", "fithubert_100h", "fitw2v2_960h"])
def test_releases_are_fetched_by_their_ids(server, cache, monkeypatch, name):
    """The authors' files stand in for: the real ones cannot be reached from a test."""
    folder, url, requests = server
    write_official(folder)
    release = RELEASES[name]
    ckpt_id, yaml_id = (address.rpartition("=")[2] for address in (release.ckpt, release.yaml))
    (folder / "official.ckpt").rename(folder / ckpt_id)
    (folder / "official.yaml").rename(folder / yaml_id)
    monkeypatch.setitem(RELEASES, name, release._replace(ckpt=f"{url}/{ckpt_id}", yaml=f"{url}/{yaml_id}"))
    upstream = hubconf.ENTRIES[name](ckpt=None, model_config=None, refresh=False)  # as s3prl's runner calls
    assert upstream.model.config.num_layers == 3 and requests == [f"/{ckpt_id}", f"/{yaml_id}"]
    if name == "fithubert_960h":
        hubconf.fithubert()
        assert len(requests) == 2


@pytest.mark.parametrize("name", [name for name, release in RELEASES.items() if not name.startswith("fit")])
def test_releases_of_the_family(server, cache, monkeypatch, name):
    """Each by its addresses; tiny files in the authors' formats stand in."""
    folder, url, requests = server
    release = RELEASES[name]
    if name.startswith("distil"):
        files = [write_distilhubert(folder)]
    else:
        files = write_lightning(folder, {"arm": ARM, "mas": MASK, "sta": STAR}[name[:3]])[:2]
    places = [f"{url}/{file.name}" for file in files]
    monkeypatch.setitem(RELEASES, name, release._replace(ckpt=places[0], yaml=places[1] if places[1:] else None))
    assert (release.yaml is None) == (len(files) == 1)
    assert hubconf.ENTRIES[name](ckpt=None, model_config=None, refresh=False).model.config.time_reduction == 1
    assert len(requests) == len(files) and hubconf.ENTRIES[name].__doc__ == release.about
    assert all(address is None or address.startswith("https://") for address in release[:2])
    with pytest.raises(FitHubertError, match=f"{name}: expected no ckpt"):
        hubconf.ENTRIES[name](ckpt="x.ckpt")


def test_sha256(server, cache):
    folder, url, _ = server
    save_fithubert(FitHubert(SMALL), folder / "s.safetensors")
    digest = hashlib.sha256((folder / "s.safetensors").read_bytes()).hexdigest()
    with pytest.raises(FitHubertError, match="invalid hash"):
        hubconf.fithubert_url(f"{url}/s.safetensors", sha256="0" * 64)
    assert kept(cache) == []
    hubconf.fithubert_url(f"{url}/s.safetensors", sha256=digest)
    assert len(kept(cache)) == 1


@pytest.mark.parametrize("name", ["broken_off", "truncated", "page.html", "missing"])
def test_a_bad_download_is_never_kept(server, cache, name):
    folder, url, _ = server
    save_fithubert(FitHubert(SMALL), folder / "s.safetensors")
    (folder / "truncated").write_bytes((folder / "s.safetensors").read_bytes()[:-50])
    (folder / "page.html").write_text("<html>Quota exceeded</html>")
    with pytest.raises(FitHubertError) as caught:
        hubconf.fithubert_url(f"{url}/{name}")
    assert f"{url}/{name}" in str(caught.value) and "\n" not in str(caught.value)
    assert kept(cache) == []


def test_a_failed_refresh_leaves_the_old_file(server, cache):
    folder, url, _ = server
    save_fithubert(FitHubert(SMALL), folder / "s.safetensors")
    hubconf.fithubert_url(f"{url}/s.safetensors")
    (folder / "s.safetensors").write_bytes(b"gone wrong")
    with pytest.raises(FitHubertError):
        hubconf.fithubert_url(f"{url}/s.safetensors", refresh=True)
    assert hubconf.fithubert_url(f"{url}/s.safetensors").model.config == SMALL


def test_without_network_the_error_names_the_way_out(cache):
    with pytest.raises(FitHubertError, match=r"could not download .* fithubert_local\(ckpt\)"):
        hubconf.fithubert_url("http://127.0.0.1:9/s.safetensors")


def test_register_puts_every_entry_on_s3prls_hub():
    register()
    register()
    from s3prl import hub

    assert all(getattr(hub, name) is entry for name, entry in hubconf.ENTRIES.items())
    assert set(hubconf.ENTRIES) <= set(hub.options())


@pytest.mark.slow
def test_torch_hub_load_in_a_new_process(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    code = f"""
import torch
upstream = torch.hub.load({str(REPO)!r}, "fithubert_local", {str(tmp_path / "s.safetensors")!r}, source="local")
features = upstream.eval()([torch.randn(16000)])
assert features["last_hidden_state"].shape == (1, 49, 40)
assert torch.isfinite(features["last_hidden_state"]).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_root_hubconf_offers_what_register_does():
    sys.path.insert(0, str(REPO))
    try:
        import importlib.util

        spec = importlib.util.spec_from_file_location("root_hubconf", REPO / "hubconf.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(REPO))
    assert {n for n, v in vars(module).items() if callable(v)} == set(hubconf.ENTRIES)
