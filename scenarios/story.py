"""The story of the demo: two sellers, their mail, and the two timelines after each step."""

import asyncio
import contextlib
import json
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
from aiokafka import AIOKafkaConsumer

from deploy.local.system import System
from simulator import sample_company
from simulator.control.client import TenantControl
from simulator.sample_company import ANN, BEN, CARLA, EVE, OPPORTUNITY, OPPORTUNITY_NAME, Person

from .administration import Administration
from .errors import StepFailedError
from .terminal import (
    Timeline,
    bold,
    print_addresses,
    print_line,
    render_timelines,
    seconds_since_start,
    wait_for_enter,
)
from .upstream import Upstream

STEP_TIMEOUT = timedelta(seconds=30)
"""A step whose result takes longer has failed."""
PAUSE_BEFORE_FIRST_STEP, PAUSE_BETWEEN_STEPS = timedelta(seconds=20), timedelta(seconds=6)
"""Longest waits for Enter when a user watches."""
POLL_INTERVAL = 0.05
"""Seconds between two reads of a timeline."""

QUESTION = "Our numbers for the fleet"
TERMS = "Terms I recommend"
MEETING = "Fleet renewal: walk through the offer"

StepResult = Callable[[Timeline, Timeline], bool]
"""Whether Ann's and Ben's timelines show the result of a step."""


@dataclass(slots=True)
class Seller:
    """A signed-in user of the timeline."""

    name: str
    http: httpx2.AsyncClient

    async def timeline(self, record: tuple[str, str]) -> Timeline:
        """The user's timeline of a record; empty if the user may not read the record."""
        response = await self.http.get(f"/records/{record[0]}/{record[1]}/timeline")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return {}
        return dict(response.raise_for_status().json())

    async def track(self, record: tuple[str, str], item: str) -> None:
        """Track a suggestion."""
        path = f"/records/{record[0]}/{record[1]}/suggestions/{quote(item, safe='')}/track"
        response = await self.http.post(path, json={})
        response.raise_for_status()


@contextlib.asynccontextmanager
async def sign_in(system: System, tenant: TenantControl, user: str, name: str) -> AsyncIterator[Seller]:
    """Sign a user in by the authorization code flow."""
    token = tenant.sign_in(user)
    url = system["tracking"].url + "/api/v1"
    async with httpx2.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False
    ) as http:
        yield Seller(name, http)


@dataclass(slots=True)
class Story:
    """Runs the steps in order, and measures the time until each result is visible."""

    system: System
    tenant: TenantControl
    upstream: Upstream
    ann: Seller
    ben: Seller
    tracked_events: list[dict[str, Any]] = field(default_factory=list)
    """The events that the dashboard's consumer has received."""
    watched: bool = False
    """Whether a user at the terminal watches, so that each step waits for Enter."""
    steps: list[tuple[str, float]] = field(default_factory=list)
    """Title and seconds of each finished step."""
    first_suggestion: float | None = None
    """Seconds from the start of this process to the first visible suggestion."""

    async def step(
        self, title: str, action: Callable[[], Any], is_visible: StepResult
    ) -> tuple[Timeline, Timeline]:
        """Run an action, and wait until the two timelines show its result.

        Raises:
            StepFailedError: the timelines did not show the result in time.
        """
        if self.watched:
            await wait_for_enter(PAUSE_BETWEEN_STEPS if self.steps else PAUSE_BEFORE_FIRST_STEP)
        print_line(f"\n{bold(f'{len(self.steps) + 1}. {title}')}")
        started = time.monotonic()
        running = action()
        if asyncio.iscoroutine(running):
            await running
        while True:
            timelines = await self.ann.timeline(OPPORTUNITY), await self.ben.timeline(OPPORTUNITY)
            elapsed = time.monotonic() - started
            if is_visible(*timelines):
                break
            if elapsed > STEP_TIMEOUT.total_seconds():
                _print_timelines(*timelines)
                raise StepFailedError(f"not visible within {STEP_TIMEOUT.total_seconds():.0f} s: {title}")
            await asyncio.sleep(POLL_INTERVAL)
        self.steps.append((title, elapsed))
        if self.first_suggestion is None and suggested_subjects(timelines[0]):
            self.first_suggestion = seconds_since_start()
        _print_timelines(*timelines)
        print_line(f"  visible after {elapsed:.2f} s")
        return timelines

    async def run(self) -> None:
        """Run every step, in order.

        Raises:
            StepFailedError: the result of a step is missing; the message has the title of the step.
        """
        tenant, ann = self.tenant, self.ann
        await self.step(
            "The CRM publishes its records: Fabrikam, its people, and the deal.",
            lambda: self.upstream.publish(sample_company.records(tenant.id)),
            lambda ann, ben: bool(ann) and bool(ben),
        )
        await self.step(
            "Carla of Fabrikam writes to Ann. Only Ann sees the mail.",
            lambda: self.send(
                CARLA,
                ANN,
                QUESTION,
                "Dear Ann,\nforty vans, delivered in March. Can you do that?\nCarla",
            ),
            lambda ann, ben: suggested_subjects(ann) == [QUESTION] and is_empty(ben),
        )
        await self.step(
            "Eve, not connected with the deal in the CRM, writes to Ann; Ann books a meeting with Carla.",
            self.send_mail_of_eve_and_book_meeting,
            lambda ann, ben: set(suggested_subjects(ann)) == {QUESTION, MEETING} and is_empty(ben),
        )
        timeline = await ann.timeline(OPPORTUNITY)
        emails = [tile for tile in timeline["suggestions"] if tile["activity"]["kind"] == "email"]
        (item,) = [tile["item"] for tile in emails]
        await self.step(
            "Ann tracks Carla's mail. Ben sees the mail now, and no private activity.",
            lambda: ann.track(OPPORTUNITY, item),
            lambda ann, ben: (
                tracked_subjects(ann) == tracked_subjects(ben) == [QUESTION] and not ben["suggestions"]
            ),
        )
        await self.wait_for_tracked_event("a dashboard that reads `tracked-activities` receives the event")
        await self.step(
            "In the CRM, Eve becomes a stakeholder of the deal: Eve's older mail appears, for Ann only.",
            lambda: self.upstream.publish(
                [sample_company.opportunity(tenant.id, version=2, stakeholders=["eve"])]
            ),
            lambda ann, ben: TERMS in suggested_subjects(ann) and not ben["suggestions"],
        )

    def send(self, sender: Person, to: Person, subject: str, text: str) -> None:
        self.tenant.send(sender.as_recipient(), [to.as_recipient()], subject=subject, text=text)

    def send_mail_of_eve_and_book_meeting(self) -> None:
        self.send(EVE, ANN, TERMS, "Hello Ann, in your place I would offer these terms.\nEve")
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=20)
        self.tenant.book(
            ANN.as_recipient(),
            [CARLA.as_recipient()],
            start.isoformat(),
            end=(start + timedelta(hours=1)).isoformat(),
            subject=MEETING,
        )

    async def wait_for_tracked_event(self, title: str) -> None:
        """Wait until the dashboard's consumer has the tracked event, and print its public part.

        Raises:
            StepFailedError: the consumer did not receive the event in time.
        """
        started = time.monotonic()
        while not self.tracked_events:
            if time.monotonic() - started > STEP_TIMEOUT.total_seconds():
                raise StepFailedError(f"not within {STEP_TIMEOUT.total_seconds():.0f} s: {title}")
            await asyncio.sleep(POLL_INTERVAL)
        event = self.tracked_events[0]
        public = {name: event[name] for name in ("kind", "subject", "owner", "regarding", "revision")}
        print_line(f"  {title}:")
        print_line(textwrap.indent(json.dumps(public, ensure_ascii=False, indent=1), "    "))


def suggested_subjects(timeline: Timeline) -> list[str]:
    return [tile["activity"]["subject"] for tile in timeline.get("suggestions", [])]


def tracked_subjects(timeline: Timeline) -> list[str]:
    return [tile["activity"]["subject"] for tile in timeline.get("tracked", [])]


def is_empty(timeline: Timeline) -> bool:
    return not timeline["suggestions"] and not timeline["tracked"]


def _print_timelines(ann: Timeline, ben: Timeline) -> None:
    timelines = [(ANN.first_name, ann), (BEN.first_name, ben)]
    print_line("\n".join(render_timelines(OPPORTUNITY_NAME, timelines)))


@contextlib.asynccontextmanager
async def dashboard(system: System, events: list[dict[str, Any]]) -> AsyncIterator[None]:
    """Consume the public topic `tracked-activities` as any dashboard may, and append its events."""
    consumer = AIOKafkaConsumer(
        f"{system.prefix}tracked-activities",
        bootstrap_servers=system.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()

    async def consume() -> None:
        async for message in consumer:
            events.extend([json.loads(message.value)] if message.value else [])

    task = asyncio.create_task(consume())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


async def play(system: System, tenant: TenantControl, *, watched: bool = False) -> None:
    """Play the story with its two sellers, and print the time of each step.

    Raises:
        StepFailedError: the result of a step is missing.
    """
    administration = Administration(system, tenant.id)
    for person in sample_company.SELLERS:
        tenant.user(person.address, name=person.name)
        administration.enrol(person.address)
    names = " or ".join(person.name for person in sample_company.SELLERS)
    print_addresses(system, [f"{names}, in a second (private) window as the other"])
    if watched:
        print_line(
            "\n  Sign in on the page as both, and watch. Enter continues; the story starts by itself after "
            f"{PAUSE_BEFORE_FIRST_STEP.total_seconds():.0f} s."
        )
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(
            Upstream(system.kafka_bootstrap, f"{system.prefix}records")
        )
        ann, ben = [
            await stack.enter_async_context(sign_in(system, tenant, person.address, person.first_name))
            for person in sample_company.SELLERS
        ]
        story = Story(system, tenant, upstream, ann, ben, watched=watched)
        await stack.enter_async_context(dashboard(system, story.tracked_events))
        await story.run()
    print_line(f"\n{bold('The steps, and the time until each result was visible:')}")
    for title, seconds in story.steps:
        print_line(f"  {seconds:6.2f} s  {title}")
    print_line(f"\nThe page shows suggestions {story.first_suggestion or 0:.1f} s after the start.")
