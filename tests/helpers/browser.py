"""A page of the repository in headless Chromium, served from a folder below the server's root."""

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1000,1400"
).split()
PATIENCE = 300  # s; a busy machine is slow


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder's files, as `python -m http.server` serves them."""
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def chromium(profile: Path, *switches: str) -> Iterator[Any]:
    """A selenium driver; the test is skipped without selenium, Chromium or its driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (browser and driver):
        pytest.skip("no chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (*SWITCHES, f"--user-data-dir={profile}", *switches):
        options.add_argument(switch)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.set_script_timeout(PATIENCE)
        yield opened
    finally:
        opened.quit()


class Page:
    """`docs/web/` in a browser."""

    def __init__(self, driver: Any, address: str):
        self.driver, self.address = driver, address
        driver.get(address)
        self.wait()

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    @property
    def status(self) -> tuple[str, str]:
        """("busy" | "ready" | "problem", the line)."""
        line = self.find("#status")
        return line.get_attribute("data-kind"), line.text

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for it."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, PATIENCE).until(lambda _: condition())

    def wait(self) -> tuple[str, str]:
        """The status when the page is done."""
        self.until(lambda: self.status[0] != "busy")
        return self.status

    def open(self, slot: str, path: Path) -> tuple[str, str]:
        """Choose a file for a recording; the status after it."""
        self.run("document.querySelector('#status').dataset.kind = 'busy'; return null")
        self.find(f"#{slot} input").send_keys(str(path))
        return self.wait()

    def run(self, body: str, *arguments: Any) -> Any:
        """What an async function of JavaScript returns; `load(name)` in it is one of the page's modules."""
        script = f"""
            const done = arguments[arguments.length - 1];
            const load = (name) => import(new URL(name, document.baseURI));
            (async (...given) => {{ {body} }})(...arguments).then(done, (error) => done({{ error: String(error) }}));
        """
        return self.driver.execute_async_script(script, *arguments)

    def recording(self, slot: str) -> dict[str, Any]:
        """What the page knows of a recording, numbers as lists."""
        return self.run(
            """
            const { sound, words, answer, spectrum } = (await load('main.js')).recordings[given[0]];
            const { layers } = answer;
            return {
              samples: [...sound.samples], words, spectrum: [...spectrum.values],
              probabilities: [...answer.probabilities], embedding: [...answer.embedding],
              layers: [...layers.values], shape: [layers.count, layers.frames, layers.width],
            };
            """,
            slot,
        )
