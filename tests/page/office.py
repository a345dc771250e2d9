"""The whole system, a tenant of colleagues, and the browsers they sit at."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python  # type: ignore[import-untyped]  # only its file is used
import httpx2
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from deploy.local.system import System
from scenarios.upstream import Upstream
from simulator.control.client import TenantControl

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
SEEN_WITHIN = 20_000
"""Milliseconds in which something that happens elsewhere is on the page, also on a busy machine."""
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
REPORTS = "addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"

expect.set_options(timeout=SEEN_WITHIN)


@dataclass
class Desk:
    """One person's browser. Whatever goes wrong in it is a failure when she leaves."""

    context: BrowserContext
    page: Page
    name: str
    home: str
    allowed: set[str]
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    expected: str = "^$"
    """What the console may say because the test makes it happen."""

    async def sit_down(self) -> None:
        """Listens to all that the browser complains of."""
        await self.page.add_init_script(REPORTS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request", lambda request: self.asked.add("{0.scheme}://{0.netloc}".format(urlsplit(request.url)))
        )

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not re.search(self.expected, message.text):
            self.complaints.append(message.text)

    async def leave(self) -> None:
        """Nothing was complained of, and nobody else was asked for anything."""
        await self.context.close()
        assert self.complaints == [], self.complaints
        assert {origin for origin in self.asked if not origin.startswith("data:")} <= self.allowed

    async def sign_in(self, at: str = "/") -> None:
        """As she does it: by the authority's page."""
        await self.page.goto(self.home + at)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name=self.name).click()
        await self.is_in()

    async def is_in(self, name: str | None = None) -> None:
        """She is signed in."""
        await expect(self.page.get_by_role("banner")).to_contain_text(name or self.name)

    async def open(self, record: dict[str, Any]) -> None:
        """Opens a record from the list."""
        await self.page.get_by_role("link", name=record["name"]).click()
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(record["name"])
        await self.is_live()

    async def is_live(self) -> None:
        """Changes come by themselves."""
        await expect(self.page.locator(".live")).to_have_text("Live")

    def tile(self, subject: str) -> Locator:
        """The tile of an item."""
        return self.page.get_by_role("article", name=subject)

    async def is_accessible(self, what: str) -> None:
        """Axe finds nothing, in either theme."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        for theme in THEMES:
            await self.page.emulate_media(color_scheme=theme)
            found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            problems = [
                (each["id"], node["html"][:200], node["failureSummary"])
                for each in found["violations"]
                for node in each["nodes"]
            ]
            assert problems == [], f"{what}, {theme}"

    async def says(self, text: str) -> None:
        """What a screen reader is told."""
        await expect(self.page.get_by_role("status").filter(has_text=text).first).to_be_attached()

    async def tab_to(self, name: str, key: str = "Tab", most: int = 80) -> None:
        """Goes on by Tab, or another key, until what has the focus is called so."""
        focused = "(({activeElement: e, body}) => (e === body ? '' : e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent))(document)"
        for _ in range(most):
            if name in (await self.page.evaluate(focused) or ""):
                return
            await self.page.keyboard.press(key)
        raise AssertionError(f"nothing called {name} within {most} tabs")


@dataclass
class Office:
    """The system with its tenant."""

    system: System
    tenant: TenantControl
    upstream: Upstream
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def home(self) -> str:
        return self.system["tracking"].url

    def colleague(self, name: str, *, enrolled: bool = True, **about: Any) -> str:
        """A new user, with roles or groups if they are given; answers her address."""
        address = f"{name.lower().replace(' ', '.')}@contoso.example"
        self.tenant.user(address, name=name, **about)
        if enrolled:
            self.mailbox("POST", "", {"tenant": self.tenant.id, "mailbox": address})
        return address

    def mailbox(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        """The administration of mailboxes."""
        headers = {"Authorization": f"Bearer {self.system.service_token}"}
        url = self.system["mail-ingest"].url + "/mailboxes" + path
        return (
            httpx2.request(method, url, json=body, headers=headers, timeout=30, trust_env=False)
            .raise_for_status()
            .json()
        )

    async def deal(self, **changes: Any) -> dict[str, Any]:
        """A new opportunity with a contact of its own, whose address is under `from`."""
        number = next(self.numbers)
        of = {"tenant": self.tenant.id, "version": 1, "modified_on": f"2026-11-20T09:{number:02}:00Z"}
        address = f"buyer-{number}@fabrikam.example"
        contact = of | {
            "type": "contact",
            "id": f"buyer-{number}",
            "name": f"Buyer {number}",
            "emails": [address],
        }
        deal = (
            of
            | {
                "type": "opportunity",
                "id": f"deal-{number}",
                "name": f"Deal {number} of the year",
                "contact_id": contact["id"],
            }
            | changes
        )
        await self.upstream.publish([contact, deal])
        return deal | {"from": {"name": contact["name"], "address": address}}

    async def add_stakeholder(self, deal: dict[str, Any]) -> dict[str, str]:
        """Somebody whom the deal did not know becomes a stakeholder of it when `publish` is called; her address."""
        number = next(self.numbers)
        person = {
            "tenant": self.tenant.id,
            "version": 1,
            "type": "contact",
            "id": f"adviser-{number}",
            "name": f"Adviser {number}",
        }
        await self.upstream.publish([person | {"emails": [f"adviser-{number}@adatum.example"]}])
        deal["stakeholder_ids"] = [person["id"]]
        return {"name": str(person["name"]), "address": f"adviser-{number}@adatum.example"}

    async def publish(self, deal: dict[str, Any]) -> None:
        await self.upstream.publish(
            [{name: value for name, value in deal.items() if name != "from"} | {"version": 2}]
        )

    async def publish_again(self, deal: dict[str, Any], **changes: Any) -> None:
        await self.publish(deal | changes)

    def send(self, sender: dict[str, str], to: str, subject: str, **mail: Any) -> None:
        self.tenant.send(sender, [to], subject=subject, **({"text": f"About {subject}."} | mail))

    @contextmanager
    def slow_graph(self, seconds: float) -> Iterator[None]:
        """Microsoft 365 takes its time."""
        self.tenant.simulator.limits(latency=seconds)
        try:
            yield
        finally:
            self.tenant.simulator.limits(latency=0.005)

    async def restart(self, name: str, pause: float = 0.0) -> None:
        """Stops a program and starts it again after a pause."""
        assert await asyncio.to_thread(self.system[name].stop), "it drains in time, whoever listens"
        await asyncio.sleep(pause)
        await asyncio.to_thread(self.system[name].start)
