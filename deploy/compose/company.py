"""The demo's company for the system in containers: its people, their mailboxes enrolled, its records published.

Once is as good as again. Its data are in simulator/sample_company.py, mounted beside it; the rest comes with mail-ingest's image.
"""  # noqa: INP001  # mounted into a container, no package there

import asyncio
import importlib
import json
import os
import ssl
import sys
import time
from typing import Any

import httpx2
from aiokafka import AIOKafkaProducer

PATIENCE = 120
"""Seconds until what does not answer is called away."""


def call(http: httpx2.Client, method: str, path: str, **body: Any) -> Any:
    """One call; a service that starts, or is not there yet, is waited for."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            answer = http.request(method, path, json=body or None)
            if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                return answer.raise_for_status().json()
        except httpx2.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


async def publish(records: list[dict[str, Any]]) -> None:
    """The CRM's records, each under its key."""
    topic = f"{os.environ.get('TOPIC_PREFIX', '')}records"
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], enable_idempotence=True
    ) as producer:
        for record in records:
            key = f"{record['tenant']}/{record['type']}/{record['id']}"
            await producer.send_and_wait(topic, json.dumps(record).encode(), key=key.encode())


def main() -> None:
    """People, mailboxes, records."""
    company: Any = importlib.import_module("sample_company")
    env, tenant = os.environ, os.environ["TENANT"]
    trusting = ssl.create_default_context(cafile=env["CA_FILE"])
    with httpx2.Client(base_url=f"{env['SIMULATOR_URL']}/control", verify=trusting, timeout=30) as simulator:
        call(simulator, "POST", "/tenants", id=tenant, domain=company.DOMAIN)
        there = {user["address"] for user in call(simulator, "GET", f"/tenants/{tenant}")["users"]}
        for number, person in enumerate(company.SELLERS, 1):
            if person.address not in there:  # the same ids as before the simulator's last start
                call(
                    simulator,
                    "POST",
                    f"/tenants/{tenant}/users",
                    address=person.address,
                    name=person.name,
                    oid=f"{tenant[:-2]}e{number}",
                )
    with httpx2.Client(
        base_url=env["INGEST_URL"], headers={"Authorization": f"Bearer {env['SERVICE_TOKEN']}"}, timeout=30
    ) as ingest:
        for person in company.SELLERS:
            call(ingest, "POST", "/mailboxes", tenant=tenant, mailbox=person.address)
    asyncio.run(publish(company.records(tenant)))
    who = " or ".join(person.name for person in company.SELLERS)
    sys.stdout.write(
        f"the timeline is on http://127.0.0.1:18083, sign in as {who}; on http://127.0.0.1:18444 you can send mail and book meetings\n"
    )


if __name__ == "__main__":
    main()
