"""The documentation as a site: it builds without a warning, and a browser finds its way through it (`make docs`)."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import obo_kit

pytestmark = pytest.mark.slow
DOCS = Path(__file__).parents[2] / "docs"
SURROUNDINGS = dict(os.environ)  # a test takes the kit's variables away


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if "OBO_KIT_SITE" in SURROUNDINGS:  # built by `make docs`
        return Path(SURROUNDINGS["OBO_KIT_SITE"]).resolve()
    pytest.importorskip("sphinx", reason="comes with the dependency group docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        self.links += [values[key] for key in ("href", "src") if values.get(key)]


def test_no_link_is_dead(site):
    """Every page, file and anchor that the site links to is there. Other hosts are not asked."""
    pages = {path: _Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if re.match(r"\w+:|//", address) or link in ("#", ""):
                continue
            target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            if not target.exists() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                dead.append((path.name, link))
    assert dead == []


def test_every_public_name_is_in_the_reference(site):
    documented = _Page((site / "reference.html").read_text("utf-8")).anchors
    names = {name for name in obo_kit.__all__ if not name.startswith("__")}
    homes = {name: {f"obo_kit.{name}", f"obo_kit.exceptions.{name}"} for name in names}
    assert {name for name, places in homes.items() if not places & documented} == set()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture(scope="module")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(15_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("requestfailed", lambda request: errors.append(request.url))
    opened.asked = set()
    opened.on("request", lambda request: opened.asked.add(request.url.split("/")[2]))
    yield opened
    opened.close()
    assert errors == []


def test_a_reader_gets_from_the_first_page_to_the_quickstart(page, address):
    page.goto(f"{address}/index.html")
    page.get_by_role("link", name="Quickstart").first.click()
    assert page.locator("h1").inner_text().startswith("Quickstart")
    assert page.asked == {address.removeprefix("http://")}


def test_the_search_finds_a_rule(page, address):
    page.goto(f"{address}/index.html")
    page.get_by_role("textbox", name="Search").first.fill("SessionClosedError")
    page.keyboard.press("Enter")
    page.locator("ul.search li a").nth(2).wait_for()  # they come one after the other


def test_dark_mode_is_dark(page, address):
    page.goto(f"{address}/why.html")
    page.evaluate("document.body.dataset.theme = 'light'")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
        page.locator("button.theme-toggle:visible").first.click()
    assert page.evaluate("document.body.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 200 < sum(map(int, re.findall(r"\d+", light)[:3]))


def test_a_narrow_screen_needs_no_sideways_scrolling(page, address):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/why.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
