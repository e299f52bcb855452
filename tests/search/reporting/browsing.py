"""A real browser for tests of pages, and what must not happen in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, as it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    assert path, "these tests need Chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def watched(page: Page) -> list[str]:
    """All that goes wrong on a page from now on: errors, dialogs, requests to anywhere but the file or this machine."""
    wrong: list[str] = []

    def request(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("file", "data", "blob") and parts.hostname != "127.0.0.1":
            wrong.append(f"request: {url}")

    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    page.on("request", lambda seen: request(seen.url))
    return wrong


OVERFLOWING = """() => {
  const visible = (element) => element.getClientRects().length && getComputedStyle(element).clipPath === "none";
  const scrolls = (element) => element.closest(".scroll, .dash-dropdown, svg, .js-plotly-plot, #tip, [role=presentation]");
  const holder = (element) => element.closest("section, .facts div, #detail, header, main") ?? document.body;
  return [...document.querySelectorAll("main *, #detail:not([hidden]) *, header *")]
    .filter((element) => visible(element) && !scrolls(element))
    .filter((element) => {
      const boxes = [element];
      if (!element.children.length) { // a word can stand beyond the box of its element
        boxes.push(document.createRange());
        boxes[1].selectNodeContents(element);
      }
      const right = Math.max(...boxes.map((box) => box.getBoundingClientRect().right));
      return right > holder(element).getBoundingClientRect().right + 1;
    })
    .map((element) => `${element.tagName} ${element.className} ${element.textContent.slice(0, 30)}`);
}"""
"""What stands beyond the right edge of its card; what scrolls or cuts by itself apart."""


WIDEST_BAR = (
    "Math.max(...[...document.querySelectorAll('#detail .fill')].map(fill => fill.getBoundingClientRect().width))"
)
"""Pixels of the longest bar of costs in the drawing of a network."""


def chart(name: str) -> str:
    """A chart of the page, as JavaScript."""
    return f"document.querySelector('[data-chart={name}]')"


def show(page: Page, name: str) -> None:
    """Scrolls to a chart and waits until it is drawn."""
    page.evaluate(f"{chart(name)}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.wait_for_function(f"{chart(name)}.dataset.drawn !== undefined")
