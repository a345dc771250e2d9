"""The programs of the trial with the simulator: the port forwarder and the script of the company."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2

from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import System
from scenarios.topic_table import read_topic_table
from simulator import sample_company
from simulator.control.client import Simulator
from tests.support.http import spare_port

from .compose import ROOT, Config


async def test_port_forwarder_copies_both_ways_and_survives_an_absent_target() -> None:
    async def answer_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # reads until the other side has ended
        writer.close()

    target = await asyncio.start_server(answer_in_capitals, "127.0.0.1", 0)
    forwarded, without_target = spare_port(), spare_port()
    routes = [
        f"127.0.0.1:{forwarded}=127.0.0.1:{target.sockets[0].getsockname()[1]}",
        f"127.0.0.1:{without_target}=127.0.0.1:{spare_port()}",
    ]
    forwarder = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "deploy/compose/port_forwarder.py", *routes, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(2):
            reader, writer = await connect(without_target)
            assert await reader.read() == b""
            writer.close()
            reader, writer = await connect(forwarded)
            writer.write(b"a" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"A" * 1_000_000
            writer.close()
    finally:
        forwarder.terminate()
        await forwarder.wait()
        target.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server that may still be starting."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def test_company_script_can_run_again(
    stack: LocalStack, tmp_path: Path, topic_prefix: str, mongodb_database: str, trial: dict[str, Config]
) -> None:
    assert mongodb_database.startswith(topic_prefix)
    company = tmp_path / "company"
    company.mkdir()
    for mount in trial["company"]["volumes"]:
        if mount["type"] == "bind":
            assert Path(mount["target"]).parent == Path("/company")
            shutil.copy(mount["source"], company)
    with System(stack, tmp_path, prefix=topic_prefix, env={"KAFKA_PARTITIONS": "2"}) as system:
        system.start("simulator", "mail-ingest")
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
            "MAIL_INGEST_URL": system["mail-ingest"].url,
            "SERVICE_TOKEN": system.service_token,
            "SIMULATOR_URL": system.simulator,
            "AUTHORITY_CA_FILE": str(system.ca),
            "TENANT": TENANT,
        }
        assert variables.keys() == trial["company"]["environment"].keys()
        results = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                company / "company.py",
                env={**variables, "TOPIC_PREFIX": topic_prefix},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
            assert process.returncode == 0, printed.decode()
            enrolled = httpx2.get(
                f"{variables['MAIL_INGEST_URL']}/mailboxes",
                headers={"Authorization": f"Bearer {variables['SERVICE_TOKEN']}"},
                trust_env=False,
            ).json()
            records, _ = await read_topic_table(stack.kafka_bootstrap, f"{topic_prefix}records")
            results.append(
                (
                    {mailbox["mailbox"] for mailbox in enrolled["mailboxes"]},
                    {key: json.loads(value) for key, (value, _) in records.items()},
                )
            )
        client = Simulator(system.simulator, system.ca)
        people = {user["oid"]: user["name"] for user in client.tenant(TENANT).show()["users"]}
        client.close()
    mailboxes, published = results[0]
    assert results[1] == results[0]
    assert people.keys() == mailboxes
    assert set(people.values()) == {person.name for person in sample_company.SELLERS}
    assert published == {
        f"{record['tenant']}/{record['type']}/{record['id']}".encode(): record
        for record in sample_company.records(TENANT)
    }
