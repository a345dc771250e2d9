"""One user's browser: opens the page, finds tiles, and checks what the page and its console show."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python  # type: ignore[import-untyped]  # only its file is used
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from .office import Office

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
PAGE_TIMEOUT = 20_000
"""Milliseconds in which an effect of another process is on the page, also on a busy machine."""
EXPIRES_NEVER = 9e9
"""Seconds since 1970: a token of the session that the page does not renew by itself."""
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
COLOR_RULES = ["color-contrast", "link-in-text-block"]
START_SESSION = "if (origin === %s) sessionStorage.setItem('timeline.session', %s)"
REPORT_POLICY_VIOLATIONS = """
addEventListener('securitypolicyviolation', (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))
"""
FOCUSED_NAME = """
(({activeElement: element, body}) => element === body ? ''
    : element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent)(document)
"""
RUN_AXE = "(rules) => axe.run(document, {resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})})"

expect.set_options(timeout=PAGE_TIMEOUT)


@dataclass
class UserBrowser:
    """One user's browser. `close` fails if its console had an error or a warning."""

    office: Office
    context: BrowserContext
    page: Page
    name: str
    home: str
    problems: list[str] = field(default_factory=list)
    requested_origins: set[str] = field(default_factory=set)
    expected: str = "^$"
    """A pattern of console messages that the test causes on purpose."""

    async def watch(self) -> None:
        """Collects console errors, policy violations, exceptions and the origins of requests."""
        await self.page.add_init_script(REPORT_POLICY_VIOLATIONS)
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._record_origin(request.url))

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not re.search(self.expected, message.text):
            self.problems.append(message.text)

    def _record_origin(self, url: str) -> None:
        self.requested_origins.add("{0.scheme}://{0.netloc}".format(urlsplit(url)))

    async def close(self) -> None:
        """Closes the browser; fails if there was a problem or a request to another site."""
        await self.context.close()
        assert self.problems == [], self.problems
        requested = {origin for origin in self.requested_origins if not origin.startswith("data:")}
        assert requested <= {self.home, self.office.system.for_browsers}

    async def sign_in(self) -> None:
        """Signs in on the authority's page, as a user does."""
        await self.page.goto(self.home)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name=self.name).click()
        await self.expect_signed_in()

    async def open_page(self, at: str = "/") -> None:
        """Opens the page with the session of a user who has signed in, which saves the loads of two pages."""
        session = {"token": self.office.token(self.name), "expires": EXPIRES_NEVER}
        script = START_SESSION % (json.dumps(self.home), json.dumps(json.dumps(session)))
        async with await self.page.add_init_script(script):
            await self.page.goto(self.home + at)
        await self.expect_signed_in()

    async def open_timeline(self, opportunity: dict[str, Any]) -> None:
        """Opens the page with the timeline of an opportunity, for a user who has signed in."""
        await self.open_page(f"/#/opportunity/{opportunity['id']}")

    async def open_record(self, record: dict[str, Any]) -> None:
        """Opens a record from the list."""
        await self.page.get_by_role("link", name=record["name"]).click()
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(record["name"])
        await self.expect_live()

    def tile(self, subject: str) -> Locator:
        """The tile of an item."""
        return self.page.get_by_role("article", name=subject)

    def tile_button(self, subject: str, label: str) -> Locator:
        """A button of a tile."""
        return self.tile(subject).get_by_role("button", name=label)

    def tile_toggle(self, subject: str) -> Locator:
        """The button that expands and collapses a tile."""
        return self.tile_button(subject, subject).first

    async def track(self, subject: str) -> None:
        """Selects Track, and waits until the item is tracked."""
        await self.tile_button(subject, "Track").click()
        await expect(self.tile(subject)).to_contain_text("Tracked by you")

    async def select_filter(self, label: str) -> None:
        """Selects an option of a filter."""
        await self.page.get_by_text(label, exact=True).first.click()

    async def tab_to(self, name: str, key: str = "Tab", limit: int = 80) -> None:
        """Presses Tab, or another key, until the focused control has this name."""
        for _ in range(limit):
            if name in (await self.page.evaluate(FOCUSED_NAME) or ""):
                return
            await self.page.keyboard.press(key)
        raise AssertionError(f"no control with the name {name} within {limit} presses of {key}")

    async def expect_signed_in(self, name: str | None = None) -> None:
        await expect(self.page.get_by_role("banner")).to_contain_text(name or self.name)

    async def expect_live(self) -> None:
        """The page follows the stream of changes."""
        await expect(self.page.locator(".connection")).to_have_text("Live")

    async def expect_record(self, name: str) -> None:
        """The heading of the timeline has this text."""
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    async def expect_announced(self, text: str) -> None:
        """A screen reader announces this text."""
        await expect(self.page.get_by_role("status").filter(has_text=text).first).to_be_attached()

    async def expect_accessible(self, state: str) -> None:
        """Axe finds no violation in either theme; state names what the page shows, for the failure.

        The themes differ in colours alone, so the second one needs only the rules about colours.
        """
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        for theme in THEMES:
            await self.page.emulate_media(color_scheme=theme)
            rules = None if theme == THEMES[0] else COLOR_RULES
            result = await self.page.evaluate(RUN_AXE, rules)
            violations = [
                (violation["id"], node["html"][:200], node["failureSummary"])
                for violation in result["violations"]
                for node in violation["nodes"]
            ]
            assert violations == [], f"{state}, {theme}"
