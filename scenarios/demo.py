"""The demo: the whole system with a small company, and its story told on the terminal.

`make demo` tells the story and stays up; `ONCE=1` ends after it, with 0 only if every step happened.
`MAIL=` and `RECORDS=` show an archive of one's own instead (docs/own-archive.md); `ONCE=1` then ends when
it is on the page.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from aiokafka import AIOKafkaConsumer

from deploy.local.processes import LocalError
from deploy.local.stack import LocalStack, local_dir
from deploy.local.system import TENANT, System
from scenarios.records.csv_files import BadRecords
from simulator import sample_company as story
from simulator.control.client import ControlError, Simulator, TenantControl
from simulator.sample_company import ANN, BEN, CARLA, DEAL, EVE, OPPORTUNITY, NotHappened, Person

from . import own_archive
from .administration import Administration
from .own_archive import NotUsable, Source, since_start
from .upstream import Upstream

PATIENCE = timedelta(seconds=30)
"""A step that takes longer has not happened."""
BEFORE, BETWEEN = timedelta(seconds=20), timedelta(seconds=6)
"""So long the story waits for Enter, at its beginning and between two steps, where somebody watches."""
LOOK = 0.05
"""Seconds between two looks at a timeline."""
COLUMN = 62
"""Characters of one timeline; two stand side by side."""
MARKS = {"untracked": "only you", "pending": "Tracking pending", "failed": "failed", "tracked": "Tracked"}
SYMBOLS = {"email": "✉", "meeting": "▦"}

Answer = dict[str, Any]


@dataclass(slots=True)
class Seller:
    """One user of the timeline, signed in."""

    name: str
    http: httpx2.AsyncClient

    async def timeline(self, record: tuple[str, str]) -> Answer:
        """What she sees on a record."""
        answer = await self.http.get(f"/records/{record[0]}/{record[1]}/timeline")
        return {} if answer.status_code == httpx2.codes.NOT_FOUND else dict(answer.raise_for_status().json())

    async def track(self, record: tuple[str, str], item: str) -> None:
        """Selects Track."""
        answer = await self.http.post(
            f"/records/{record[0]}/{record[1]}/suggestions/{quote(item, safe='')}/track", json={}
        )
        answer.raise_for_status()


@contextlib.asynccontextmanager
async def sign_in(system: System, tenant: TenantControl, user: str, name: str) -> AsyncIterator[Seller]:
    """A user of the timeline, by the authorization code flow."""
    token = tenant.sign_in(user)
    url = system["tracking"].url + "/api/v1"
    async with httpx2.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False
    ) as http:
        yield Seller(name, http)


# -- how it looks ---------------------------------------------------------------------------------


def tell(text: str = "") -> None:
    """A line on the terminal."""
    print(text, flush=True)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def picture(timelines: list[tuple[str, Answer]]) -> Iterator[str]:
    """Timelines side by side, as lines; below one another where the terminal is narrow."""
    columns = [list(box(f"{name}'s timeline · {DEAL}", timeline)) for name, timeline in timelines]
    if shutil.get_terminal_size((2 * COLUMN + 6, 24)).columns < 2 * COLUMN + 6:
        for column in columns:
            yield from (f"  {line}" for line in column)
        return
    for n in range(max(map(len, columns))):
        yield "  " + "  ".join(column[n] if n < len(column) else " " * COLUMN for column in columns)


def box(title: str, timeline: Answer) -> Iterator[str]:
    """One timeline in a frame."""
    width = COLUMN - 4
    yield f"┌─ {title} ".ljust(COLUMN - 1, "─") + "┐"
    for line in tiles(timeline, width) if timeline else ["(no such record)"]:
        yield f"│ {line[:width].ljust(width)} │"
    yield "└" + "─" * (COLUMN - 2) + "┘"


def tiles(timeline: Answer, width: int) -> Iterator[str]:
    """The tiles, newest first, tracked and untracked mixed in by time."""
    both = [(tile, tile["activity"], tile["state"]) for tile in timeline["suggestions"]]
    both += [(tile, tile["activity"], "tracked") for tile in timeline["tracked"]]
    if not both:
        empty = timeline["empty"] or {}
        yield f"nothing here: {str(empty.get('why', '')).replace('_', ' ')}"
    for tile, activity, state in sorted(both, key=lambda each: each[1]["at"], reverse=True):
        at = datetime.fromisoformat(activity["at"]).astimezone()
        mark = f"[{MARKS[state]}]"
        yield (
            f"{SYMBOLS[activity['kind']]} {at:%a %H:%M}  {activity['subject'][: width - len(mark) - 14]}".ljust(
                width - len(mark)
            )
            + mark
        )
        if state == "tracked":
            yield f"    by {tile['regarding'][0]['by_name']}, for the whole team"
        for why in tile.get("why", [])[:1]:
            yield from textwrap.wrap(why, width - 4, initial_indent="    ", subsequent_indent="    ")


# -- the story ------------------------------------------------------------------------------------


async def enter(most: timedelta) -> None:
    """Waits for the Enter key, so long at most."""
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, pressed.set)
    try:
        async with asyncio.timeout(most.total_seconds()):
            await pressed.wait()
            sys.stdin.readline()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(sys.stdin)


@dataclass(slots=True)
class Story:
    """Tells it, step by step, and times each."""

    system: System
    tenant: TenantControl
    upstream: Upstream
    ann: Seller
    ben: Seller
    heard: list[Answer] = field(default_factory=list)
    """What the dashboard's consumer has heard."""
    watched: bool = False
    """Whether somebody sits before the terminal, and wants to see on the page what each step does."""
    steps: list[tuple[str, float]] = field(default_factory=list)
    on_the_page: float | None = None
    """Seconds from the start of this process until the first suggestion was shown."""

    async def step(
        self, title: str, act: Callable[[], Any], seen: Callable[[Answer, Answer], bool]
    ) -> tuple[Answer, Answer]:
        """Does something, and waits until the two timelines show it."""
        if self.watched:
            await enter(BETWEEN if self.steps else BEFORE)
        tell(f"\n{bold(f'{len(self.steps) + 1}. {title}')}")
        began = time.monotonic()
        done = act()
        if asyncio.iscoroutine(done):
            await done
        while True:
            both = await self.ann.timeline(OPPORTUNITY), await self.ben.timeline(OPPORTUNITY)
            took = time.monotonic() - began
            if seen(*both):
                break
            if took > PATIENCE.total_seconds():
                tell("\n".join(picture([(ANN.first, both[0]), (BEN.first, both[1])])))
                raise NotHappened(f"not seen within {PATIENCE.total_seconds():.0f} s: {title}")
            await asyncio.sleep(LOOK)
        self.steps.append((title, took))
        if self.on_the_page is None and subjects(both[0]):
            self.on_the_page = since_start()
        tell("\n".join(picture([(ANN.first, both[0]), (BEN.first, both[1])])))
        tell(f"  seen after {took:.2f} s")
        return both

    async def tell_all(self) -> None:
        """Every step, in order; NotHappened names the one that did not."""
        tenant, ann = self.tenant, self.ann
        await self.step(
            "The CRM publishes its records: Fabrikam, its people, and the deal.",
            lambda: self.upstream.publish(story.records(tenant.id)),
            lambda ann, ben: bool(ann) and bool(ben),
        )
        await self.step(
            "Carla of Fabrikam writes to Ann. Only Ann is shown it.",
            lambda: self.send(
                CARLA,
                ANN,
                "Our numbers for the fleet",
                "Dear Ann,\nforty vans, delivered in March. Can you do that?\nCarla",
            ),
            lambda ann, ben: subjects(ann) == ["Our numbers for the fleet"] and nothing(ben),
        )
        await self.step(
            "Eve, whom the CRM does not connect with the deal, writes to Ann too; and Ann books a meeting with Carla.",
            self.eve_writes_and_ann_books,
            lambda ann, ben: (
                set(subjects(ann)) == {"Our numbers for the fleet", "Fleet renewal: walk through the offer"}
                and nothing(ben)
            ),
        )
        (item,) = [
            tile["item"]
            for tile in (await ann.timeline(OPPORTUNITY))["suggestions"]
            if tile["activity"]["kind"] == "email"
        ]
        await self.step(
            "Ann selects Track on Carla's mail. Ben sees it now, and still nothing of what is private.",
            lambda: ann.track(OPPORTUNITY, item),
            lambda ann, ben: (
                tracked(ann) == tracked(ben) == ["Our numbers for the fleet"] and not ben["suggestions"]
            ),
        )
        await self.hear("a dashboard that reads `tracked-activities` hears of it")
        await self.step(
            "Upstream, Eve becomes a stakeholder of the deal: her older mail appears, to Ann alone.",
            lambda: self.upstream.publish([story.opportunity(tenant.id, version=2, stakeholders=["eve"])]),
            lambda ann, ben: "Terms I would ask for" in subjects(ann) and not ben["suggestions"],
        )

    def send(self, sender: Person, to: Person, subject: str, text: str) -> None:
        self.tenant.send(sender.as_recipient(), [to.as_recipient()], subject=subject, text=text)

    def eve_writes_and_ann_books(self) -> None:
        self.send(EVE, ANN, "Terms I would ask for", "Hello Ann, if I were you I would ask for these.\nEve")
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=20)
        self.tenant.book(
            ANN.as_recipient(),
            [CARLA.as_recipient()],
            start.isoformat(),
            end=(start + timedelta(hours=1)).isoformat(),
            subject="Fleet renewal: walk through the offer",
        )

    async def hear(self, what: str) -> None:
        """Waits until the dashboard's consumer has the tracked event."""
        began = time.monotonic()
        while not self.heard:
            if time.monotonic() - began > PATIENCE.total_seconds():
                raise NotHappened(f"not within {PATIENCE.total_seconds():.0f} s: {what}")
            await asyncio.sleep(LOOK)
        event = self.heard[0]
        shown = {name: event[name] for name in ("kind", "subject", "owner", "regarding", "revision")}
        tell(f"  {what}:")
        tell(textwrap.indent(json.dumps(shown, ensure_ascii=False, indent=1), "    "))


def subjects(timeline: Answer) -> list[str]:
    return [tile["activity"]["subject"] for tile in timeline.get("suggestions", [])]


def tracked(timeline: Answer) -> list[str]:
    return [tile["activity"]["subject"] for tile in timeline.get("tracked", [])]


def nothing(timeline: Answer) -> bool:
    return not timeline["suggestions"] and not timeline["tracked"]


@contextlib.asynccontextmanager
async def dashboard(system: System, heard: list[Answer]) -> AsyncIterator[None]:
    """A dashboard's consumer: a reader of the public topic as anyone may write one."""
    consumer = AIOKafkaConsumer(
        f"{system.prefix}tracked-activities",
        bootstrap_servers=system.stack.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()

    async def listen() -> None:
        async for message in consumer:
            heard.extend([json.loads(message.value)] if message.value else [])

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()


async def play(system: System, tenant: TenantControl, *, watched: bool = False) -> None:
    """The story, with its two sellers."""
    administration = Administration(system, tenant.id)
    for person in story.SELLERS:
        tenant.user(person.address, name=person.name)
        administration.enrol(person.address)
    where(
        system,
        [
            f"{' or '.join(person.name for person in story.SELLERS)}, in a second (private) window as the other"
        ],
    )
    if watched:
        tell(
            f"\n  Sign in on the page as both, and watch. Enter goes on; the story begins by itself in {BEFORE.total_seconds():.0f} s."
        )
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(
            Upstream(system.stack.kafka_bootstrap, f"{system.prefix}records")
        )
        ann, ben = [
            await stack.enter_async_context(sign_in(system, tenant, person.address, person.first))
            for person in story.SELLERS
        ]
        told = Story(system, tenant, upstream, ann, ben, watched=watched)
        await stack.enter_async_context(dashboard(system, told.heard))
        await told.tell_all()
    tell(f"\n{bold('What happened, and how long until it was seen:')}")
    for title, took in told.steps:
        tell(f"  {took:6.2f} s  {title}")
    tell(f"\nThe page shows suggestions {told.on_the_page or 0:.1f} s after the start.")


def where(system: System, who: list[str]) -> None:
    """Where the page is, as whom to sign in, and where to play."""
    tell(f"\n  {bold('the page')}      {bold(system['tracking'].url)}")
    for n, line in enumerate(who):
        tell(f"  {'' if n else 'sign in as':<12}  {line}")
    tell(
        f"  play          {system.for_browsers}   send a mail, book a meeting, close a mailbox, and watch the page"
    )


def run(system: System, tenant: TenantControl, archive: Source | None, args: argparse.Namespace) -> None:
    """The story, or one's own archive; then where to look, until Ctrl-C."""
    page = system["tracking"].url
    if archive:
        where(
            system,
            own_archive.sign_in_as(own_archive.show(system, tenant, archive, args.reads or None), page),
        )
    else:
        asyncio.run(play(system, tenant, watched=sys.stdin.isatty() and not args.once))
        tell(f"\n  {bold('the page')}      {bold(page)}")
    tell(f"  timeline API  {page}/api/v1")
    tell(f"  simulator     {system.simulator}   (CA: {system.ca})")
    tell(f"  logs          {system.folder / 'logs'}")
    tell(f"\nDone {since_start():.0f} s after the start.")
    if not args.once:
        tell("It stays up. Ctrl-C stops everything.")
        signal.pause()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mail", type=Path, help="a folder of mbox, eml and ics files (MAIL=)")
    parser.add_argument(
        "--records", type=Path, help="a folder of JSON lines and CSV files, or one such file (RECORDS=)"
    )
    parser.add_argument(
        "--reads",
        type=int,
        default=own_archive.READS,
        help="how many of an archive's timelines are read at the end, 0: all (%(default)s)",
    )
    parser.add_argument(
        "--once", action="store_true", help="end after the story, or when the archive is on the page (ONCE=1)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = local_dir() / "demo"
    stack = LocalStack(folder, tied=True)
    try:
        archive = own_archive.look_at(args.mail, args.records, TENANT) if args.mail or args.records else None
        stack.erase()
        with stack, System(stack, folder, usual_ports=True, prefix=f"demo-{int(time.time())}-") as system:
            system.start()
            run(
                system,
                Simulator(system.simulator, system.ca).tenant(TENANT, domain=story.DOMAIN),
                archive,
                args,
            )
    except (NotUsable, BadRecords) as unusable:
        sys.exit(str(unusable))
    except (LocalError, NotHappened, ControlError, httpx2.HTTPError) as failed:
        sys.exit(f"FAILED: {failed}")
    except KeyboardInterrupt:
        tell("stopped")
        sys.exit(0 if not args.once else 130)


if __name__ == "__main__":
    main()
