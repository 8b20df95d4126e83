"""The playground in a browser, from the command that an author types: `make docs` brings the browser's driver.

With ``OBO_KIT_SCREENSHOTS=folder`` the tests leave pictures there, to be looked at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.slow
STARTER = Path(__file__).parents[2] / "examples" / "starter"
SCREENSHOTS = os.environ.get("OBO_KIT_SCREENSHOTS")  # gone from the environment when a test begins


@pytest.fixture(scope="module", params=["model-serving", "apps"])
def url(request):
    command = [sys.executable, "-m", "obo_kit", "playground", str(STARTER / request.param / "agent.py"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        try:
            assert line, process.stderr.read()
            address = json.loads(line)["url"]
            body = {"user": "alice", "scopes": ["sql"], "question": "How many?"}
            seconds = []
            for _ in range(2):
                begun = time.monotonic()
                assert "orders" in requests.post(address + "api/ask", json=body, timeout=60).text
                seconds.append(time.monotonic() - begun)
            yield address, *seconds
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in said) == (0, False), said
    assert said.endswith("The playground has stopped.\n")


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture
def page(browser, url, request):
    wanted = request.getfixturevalue("scheme") if "scheme" in request.fixturenames else "light"
    opened = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=wanted)
    opened.set_default_timeout(15_000)
    problems: list[str] = []
    hosts: set[str] = set()
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
    )
    # Chromium counts a stream that a script has read to its end as aborted now and then.
    opened.on("requestfailed", lambda failed: None if failed.url.endswith("/ask") else problems.append(failed.url))
    opened.on("request", lambda sent: hosts.add(sent.url.split("/")[2]))
    opened.goto(url[0])
    opened.wait_for_selector("body[data-ready]")
    yield opened
    assert "eyJ" not in opened.content()
    assert problems == []
    assert hosts == {url[0].split("/")[2]}
    opened.close()


def side(page, name):
    return page.get_by_role("region", name=name, exact=True)


def ask(page):
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("#status:text-is('Answered.')", state="attached")


def shot(page, name):
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


def test_the_first_answer_comes_within_a_second_of_start_up(url):
    _, first, second = url
    assert first < max(1, 10 * second)  # on a slow machine, each takes longer: the first loads nothing


def test_alice_and_bob_are_answered_side_by_side(page, url, scheme):
    ask(page)
    alice, bob = side(page, "alice"), side(page, "bob")
    assert alice.get_by_role("log").inner_text().strip() == "There are 2 orders."
    assert bob.get_by_role("log").inner_text().strip() == "Order data is not available to you."
    assert "allowed" in alice.locator(".timeline").inner_text()
    timeline = bob.locator(".timeline").inner_text()
    for word in ("denied", "count_orders, as bob", "sql", "missing grant", "access_denied", "GRANT SELECT ON TABLE"):
        assert word in timeline
    assert page.locator("#policy").evaluate("image => image.complete && image.naturalWidth") > 500
    shot(page, f"{'apps' if page.locator('#route-line').is_visible() else 'model-serving'}-{scheme}")


def test_a_grant_and_a_scope_are_taken_away_and_given_back(page):
    box = page.get_by_label("SELECT on main.shop.orders for bob")
    box.check()
    page.wait_for_selector("#status:has-text('granted to bob')", state="attached")
    side(page, "alice").get_by_label("sql").uncheck()
    ask(page)
    assert "2 orders" in side(page, "bob").get_by_role("log").inner_text()
    assert "missing_scope" in side(page, "alice").locator(".timeline").inner_text()
    shot(page, "changed")
    box.uncheck()
    page.wait_for_selector("#status:has-text('taken from bob')", state="attached")
    ask(page)
    assert "not available" in side(page, "bob").get_by_role("log").inner_text()


def test_both_sides_may_ask_as_anybody(page):
    side(page, "alice").get_by_label("Ask as").select_option("bob")
    ask(page)
    assert page.get_by_role("region", name="bob", exact=True).count() == 2
    assert [log.inner_text().strip() for log in page.get_by_role("log").all()] == [
        "Order data is not available to you."
    ] * 2


def test_the_keyboard_reaches_everything_in_order(page):
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the question"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.locator("#question").focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#status:text-is('Answered.')", state="attached")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.getAttribute('aria-label') || document.activeElement.tagName")
        )
    for name in ("BUTTON", "Answer on side 1", "Answer on side 2", "SELECT on main.shop.orders for bob", "SUMMARY"):
        assert name in reached
    assert reached.index("BUTTON") < reached.index("Answer on side 1") < reached.index("Answer on side 2")


def test_everything_has_a_name_for_a_screen_reader(page):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, select, textarea, input, img, table, section, summary')]
            .filter(element => !(element.getAttribute('aria-label') || element.getAttribute('aria-labelledby')
                || element.labels?.length || element.alt || element.textContent.trim()))
            .map(element => element.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("() => document.documentElement.lang") == "en"
    assert [heading.inner_text() for heading in page.get_by_role("heading", level=2).all()] == [
        "alice",
        "bob",
        "Grants in the workspace",
        "Policy",
    ]
    assert page.locator(".answer").first.get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    ask(page)
    low = page.evaluate(
        """() => {
            const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
            const light = rgb => [.2126, .7152, .0722].reduce((sum, part, n) => sum + part * linear(rgb[n] / 255), 0);
            const channels = color => color.match(/[\\d.]+/g).map(Number);
            const ground = element => {
                for (; element; element = element.parentElement) {
                    const color = channels(getComputedStyle(element).backgroundColor);
                    if (color.length < 4 || color[3] > 0) return color;
                }
                return [255, 255, 255];
            };
            return [...document.querySelectorAll('h1, h2, h3, p, label, legend, dt, dd, td, th, button, .mark, .answer')]
                .filter(element => element.textContent.trim() && element.offsetParent)
                .map(element => {
                    const pair = [channels(getComputedStyle(element).color), ground(element)];
                    const [a, b] = pair.map(light).sort((x, y) => y - x);
                    return [(a + .05) / (b + .05), element.textContent.slice(0, 30)];
                })
                .filter(([ratio]) => ratio < 4.5);
        }"""
    )
    assert low == []


def test_a_narrow_screen_needs_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 390, "height": 800})
    ask(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    shot(page, "narrow")


def test_another_page_of_the_browser_can_do_nothing(browser, url, tmp_path):
    """It knows the address but for the token; and, were the token known, its requests would be refused."""
    page = browser.new_page()
    page.goto("data:text/html,<p>another page</p>")
    tried = page.evaluate(
        """async address => {
            const attempts = [[{}], [{method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'}, body: '{}'}],
                [{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}]];
            const results = [];
            for (const [options] of attempts) {
                try { const answer = await fetch(address + 'api/state', options); results.push(answer.type + answer.status); }
                catch (error) { results.push('refused'); }
            }
            const frame = document.createElement('iframe');
            frame.src = address;
            document.body.append(frame);
            await new Promise(resolve => { frame.onload = resolve; setTimeout(resolve, 3000); });
            return results;
        }""",
        url[0],
    )
    assert [result for result in tried if result not in ("refused", "opaque0")] == []
    frames = [frame for frame in page.frames if frame is not page.main_frame]
    assert all("Playground" not in frame.content() for frame in frames)
    page.close()
