"""The commands of README and of the guides, unchanged, on the real Kafka with a whole system."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner

from deploy.local.stack import LocalStack
from deploy.local.system import Process
from scenarios.terminal import wait_for_enter
from scenarios.topic_table import read_topic_table
from scenarios.upstream import Upstream
from shared.events import ActivityTracked
from shared.keys import TrackedActivityKey, split_key
from shared.topics import MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic
from tests.support.guides import PAGES, ROOT, Block, scripts

from .waiting import wait_until
from .world import PARTITIONS, SERVICES, User, World, running_world, suggestion_path

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine
needs_kcat = pytest.mark.skipif(
    shutil.which("kcat") is None, reason="kcat is not installed: apt-get install kcat"
)

CARLA, EVE, DAN = "carla@fabrikam.example", "eve@adatum.example", "dan@adatum.example"


@pytest.fixture(scope="module")
async def world(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(stack, tmp_path_factory.mktemp("system")) as world:
        yield world


@pytest.fixture(scope="module")
async def ann(world: World) -> User:
    return await world.add_user("ann@contoso.example", name="Ann")


@dataclass
class Guide:
    """A page of the documentation whose commands run in a folder.

    Attributes:
        done: the blocks of commands that have run.
    """

    world: World
    page: str
    folder: Path
    done: set[Block] = field(default_factory=set)

    async def run(self, heading: str, nth: int = 0) -> str:
        """Runs the commands under a heading, after those under `Before you begin`. Returns their output."""
        begin, block = self._under("Before you begin")[0], self._under(heading)[nth]
        self.done |= {begin, block}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = self.world.system.environment(self.world.system["matcher"]) | {
            "TENANT": self.world.tenant.id
        }
        env = settings | {"PATH": programs, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        script = ["bash", "-euo", "pipefail", "-c", f"{begin.text}\n{block.text}"]
        ran = await asyncio.to_thread(
            subprocess.run,
            script,
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 0, f"{heading}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def _under(self, heading: str) -> list[Block]:
        return [block for block in scripts(self.page) if block.heading == heading]

    def file(self, name: str) -> list[str]:
        """The lines of a file that the commands have written."""
        return (self.folder / name).read_text().splitlines()

    @property
    def not_run(self) -> list[str]:
        """The headings of the blocks that have not run."""
        return [block.heading for block in scripts(self.page) if block not in self.done]


@pytest.mark.usefixtures("usual_ports")
async def test_demo_plays_its_story(stack: LocalStack, tmp_path: Path) -> None:
    # The command of README, without a new installation.
    env = os.environ | stack.environment | {"LOCAL_DIR": str(tmp_path), "KAFKA_PARTITIONS": "2"}
    run = ["make", "--old-file=.venv/.installed", f"RUN={sys.executable}", "demo", "ONCE=1"]
    ran = await asyncio.to_thread(
        subprocess.run, run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert 0 < ran.stdout.index("sign in as") < ran.stdout.index("1. The CRM publishes"), (
        "the address and the users come before the story, for those who watch the page"
    )


async def test_story_continues_after_enter_or_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, inside = os.openpty()
    with os.fdopen(terminal, "wb", buffering=0) as keyboard, os.fdopen(inside) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        began = time.monotonic()
        await wait_for_enter(timedelta(milliseconds=200))
        waited = time.monotonic() - began
        keyboard.write(b"\n")
        await wait_for_enter(timedelta(minutes=2))
    assert waited > 0.19


@needs_kcat
async def test_guide_publishes_records(world: World, ann: User, tmp_path: Path) -> None:
    guide = Guide(world, "docs/publishing-records.md", tmp_path)
    published = {
        ("account", "fabrikam"),
        ("contact", "carla"),
        ("opportunity", "renewal"),
        ("project", "rollout"),
    }

    async def has_name(type_: str, id_: str, name: str | None) -> bool:
        response = await ann.request("GET", f"/records/{type_}/{id_}/timeline")
        return (
            response.status_code == 404
            if name is None
            else response.status_code == 200 and response.json()["record"]["name"] == name
        )

    checked = await guide.run("Check before you publish")
    assert [line.rpartition(": ")[2] for line in checked.splitlines()] == ["taken"] * 4

    # kcat and our own client write a key to the same partition; the matcher's directory has the records.
    await guide.run("Publish")
    await world.topics.catch_up()
    partitions = {record.key: record.partition for record in world.topics.log[RECORDS.name]}
    keys = {f"{world.tenant.id}/{type_}/{id_}".encode() for type_, id_ in published}
    assert {key: partitions[key] for key in keys} == {
        key: DefaultPartitioner()(key, range(PARTITIONS), ()) for key in keys
    }
    assert any(partitions[key] != zlib.crc32(key) % PARTITIONS for key in keys), (
        "these keys do not distinguish the two partitioners"
    )
    explained = await guide.run("Publish", 1)
    assert {line.split()[0] for line in explained.splitlines()} == {"/".join(record) for record in published}
    [item] = await world.send_mail(CARLA, ann, subject="Our numbers", text="Hello")
    await wait_until(lambda: world.suggestions().get(item) == published)

    await guide.run("Change a record")
    await wait_until(lambda: has_name("opportunity", "renewal", "Fleet renewal 2027"))

    await guide.run("Delete a record")
    await wait_until(lambda: has_name("project", "rollout", None))
    await wait_until(lambda: world.suggestions().get(item) == published - {("project", "rollout")})
    await world.topics.catch_up()
    assert world.topics.dead_letters(RECORDS) == []

    await guide.run("When a record is invalid")
    await wait_until(lambda: world.topics.dead_letters(RECORDS))
    key, headers, value = (await guide.run("When a record is invalid", 1)).splitlines()
    assert key == f"{world.tenant.id}/contact/dan"
    assert "dead_letter_field=emails," in f"{headers},"
    assert "dead_letter_error=Input should be a valid array" in headers
    assert json.loads(value)["emails"] == "dan@fabrikam.example"

    await world.publish_and_wait({"type": "project", "id": "left-over", "name": "Left over"})
    await guide.run("Resync")
    assert {f"{world.tenant.id}/{record}" for record in ("contact/dan", "project/left-over")} <= set(
        guide.file("stale.txt")
    )
    assert not set(guide.file("stale.txt")) & {key.decode() for key in keys}
    await wait_until(lambda: has_name("project", "left-over", None))
    assert await has_name("account", "fabrikam", "Fabrikam")
    assert guide.not_run == []


@needs_kcat
async def test_guide_builds_a_table_of_tracked_activities(world: World, ann: User, tmp_path: Path) -> None:
    guide, deal = Guide(world, "docs/reading-tracked-activities.md", tmp_path), ("opportunity", "expansion")
    await world.publish_and_wait(
        {"type": "contact", "id": "eve", "emails": [EVE]},
        {"type": deal[0], "id": deal[1], "name": "Expansion", "contact_id": "eve"},
    )

    async def track(subject: str) -> str:
        """Sends Ann a mail and tracks it. Returns the key of the tracked activity."""
        [(_, _, item)] = await world.send_mail(EVE, ann, subject=subject, text="Text that no topic may hold")
        await ann.wait_for_suggestion(*deal, subject)
        assert (await ann.request("POST", suggestion_path(*deal, item, "track"))).status_code == 202

        def find_key() -> str | None:
            table = world.topics.table(TRACKED_ACTIVITIES)
            return next(
                (
                    "/".join(key)
                    for key, message in table.items()
                    if isinstance(message.value, ActivityTracked) and message.value.subject == subject
                ),
                None,
            )

        return str(await wait_until(find_key))

    def table() -> dict[str, dict[str, object]]:
        return {
            key: json.loads(state) for key, state in (line.split("\t") for line in guide.file("table.tsv"))
        }

    first = await track("First")
    await guide.run("Build the table")
    assert table().keys() == {first}
    assert table()[first]["subject"] == "First"
    [entry] = json.loads(json.dumps(table()[first]["regarding"]))
    assert (entry["type"], entry["id"], entry["name"], entry["by"], entry["readers"]) == (
        *deal,
        "Expansion",
        ann.oid,
        ["*"],
    )
    assert "Text that no topic may hold" not in "".join(guide.file("log.tsv"))
    assert EVE not in "".join(guide.file("log.tsv"))

    second = await track("Second")
    assert (
        await ann.request("DELETE", f"/records/{deal[0]}/{deal[1]}/tracked/{first.rpartition('/')[2]}")
    ).status_code == 204
    await wait_until(
        lambda: (
            split_key(TrackedActivityKey, first) not in world.topics.table(TRACKED_ACTIVITIES)
            and world.topics.log[TRACKED_ACTIVITIES.name][-1:]
        )
    )
    await wait_until(
        lambda: any(
            record.key == first.encode() and record.value is None
            for record in world.topics.log[TRACKED_ACTIVITIES.name]
        )
    )
    await guide.run("Keep it up to date")
    news = [line.split("\t") for line in guide.file("news.tsv")]
    event_types = [
        re.findall(r"ce_type=([\w.]+)", headers)[0].removeprefix("autocapture.activity.")
        for key, headers, _ in news
        if key == first
    ]
    assert event_types == ["tracked", "untracked", "tracked.gone"]
    assert table().keys() == {second}

    await guide.run("Keep it up to date")
    assert guide.file("news.tsv") == [], "the group has read all of it"
    assert guide.not_run == []


async def test_guide_enrols_the_first_mailbox(world: World) -> None:
    [block] = [block for block in scripts("docs/connecting-a-tenant.md") if block.language == "console"]
    ben = await world.add_user("ben@contoso.example", enrolled=False)
    enrol, list_all = (
        line.removeprefix("$ python -m ")
        .replace("<tenant id>", world.tenant.id)
        .replace("ann@contoso.com", ben.address)
        .split()
        for line in block.text.splitlines()
    )

    async def run(command: list[str]) -> str:
        return await asyncio.to_thread(world.system.run_command, *command)

    def is_complete(state: dict[str, Any]) -> bool:
        return bool(state["mailbox"] == ben.oid and state["status"] == "enrolled" and state["complete_as_of"])

    async def is_captured() -> bool:
        async with world.ingest_client() as client:
            listed = (await client.get("/mailboxes")).json()["mailboxes"]
            return any(is_complete(state) for state in listed)

    await run(enrol)
    assert ben.oid in await run(list_all)
    await wait_until(is_captured)
    assert any(is_complete(json.loads(line)) for line in (await run(list_all)).splitlines())


async def test_every_metric_of_the_scaling_guide_exists(world: World) -> None:
    first_cells = re.findall(r"^\| ([^|]+) \|", PAGES["docs/scaling.md"].read_text(), re.MULTILINE)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", "\n".join(first_cells)))
    texts = [(await asyncio.to_thread(world.system[name].get, "/metrics")).text for name in SERVICES]
    known = {metric for text in texts for metric in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)}
    assert named
    assert named <= known


async def test_guide_moves_a_system_to_more_partitions(world: World, ann: User) -> None:
    """The last test of this module: afterwards the services read other topics."""
    deal, bootstrap, prefix = (
        ("opportunity", "fleet"),
        world.system.kafka_bootstrap,
        f"{world.system.prefix}larger-",
    )
    records: list[dict[str, Any]] = [
        {"type": "contact", "id": "dan", "emails": [DAN]},
        {"type": deal[0], "id": deal[1], "name": "Fleet", "contact_id": "dan"},
    ]
    await world.publish_and_wait(*records)
    for subject in ("Shared", "Private"):
        await world.send_mail(DAN, ann, subject=subject, text="Hello")
        await ann.wait_for_suggestion(*deal, subject)
    await ann.request(
        "POST", suggestion_path(*deal, (await ann.wait_for_suggestion(*deal, "Shared"))["item"], "track")
    )

    async def is_as_before() -> bool:
        return await ann.tiles(*deal) == ([("Private", "untracked")], ["Shared"])

    async def count_containing(topic: Topic[Any, Any], text: str) -> int:
        """The number of keys of a new topic whose last value contains a text."""
        table, _ = await read_topic_table(bootstrap, prefix + topic.name)
        return sum(text.encode() in value for value, _ in table.values())

    await wait_until(is_as_before)
    await world.wait_until_idle()

    settings = {"TOPIC_PREFIX": prefix, "KAFKA_PARTITIONS": str(2 * PARTITIONS)}
    await asyncio.to_thread(world.system.run_command, "shared.provision", "create", env=settings)
    async with Upstream(bootstrap, f"{prefix}{RECORDS.name}") as upstream:
        await upstream.publish([{"tenant": world.tenant.id, **record} for record in records])
    services = [world.system[name] for name in SERVICES]
    await world.for_each(Process.stop, services)
    for service in services:
        service.start(settings, wait=False)
    await world.for_each(Process.wait_until_ready, services)
    for module in ("services.mail_ingest", "services.tracking"):
        await asyncio.to_thread(world.system.run_command, module, "resend", env=settings)

    await wait_until(lambda: count_containing(MATCHES, "Private"))
    await wait_until(lambda: count_containing(TRACKED_ACTIVITIES, "Shared"))
    await world.wait_until_idle()
    assert await is_as_before()
    await world.send_mail(DAN, ann, subject="New", text="Hello")
    await ann.wait_for_suggestion(*deal, "New")
    assert await count_containing(MATCHES, "New") == 1
