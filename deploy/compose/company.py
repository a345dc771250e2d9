"""The demo's company for the system in containers: adds users, enrols their mailboxes, publishes records.

The script can run again: a second run changes nothing. Its data are in simulator/sample_company.py, which is
mounted beside it; its packages are those of mail-ingest's image.
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

START_TIMEOUT = 120
"""Seconds that a service may take until it answers."""


def call(http: httpx2.Client, method: str, path: str, **body: Any) -> Any:
    """Send one request, and return the body of the answer; retry while the service starts.

    Raises:
        httpx2.HTTPError: the service refuses the request, or does not answer within `START_TIMEOUT`.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            response = http.request(method, path, json=body or None)
            if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return response.raise_for_status().json()
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


async def publish(records: list[dict[str, Any]]) -> None:
    """Publish each of the CRM's records under its key."""
    topic = f"{os.environ.get('TOPIC_PREFIX', '')}records"
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], enable_idempotence=True
    ) as producer:
        for record in records:
            key = f"{record['tenant']}/{record['type']}/{record['id']}"
            await producer.send_and_wait(topic, json.dumps(record).encode(), key=key.encode())


def add_users(tenant: str, company: Any) -> None:
    """Add the tenant and its users to the simulator, where they are missing."""
    trusting = ssl.create_default_context(cafile=os.environ["AUTHORITY_CA_FILE"])
    control = f"{os.environ['SIMULATOR_URL']}/control"
    with httpx2.Client(base_url=control, verify=trusting, timeout=30) as simulator:
        call(simulator, "POST", "/tenants", id=tenant, domain=company.DOMAIN)
        present = {user["address"] for user in call(simulator, "GET", f"/tenants/{tenant}")["users"]}
        for number, person in enumerate(company.SELLERS, 1):
            if person.address not in present:
                oid = f"{tenant[:-2]}e{number}"  # the same id again after a restart of the simulator
                user = {"address": person.address, "name": person.name, "oid": oid}
                call(simulator, "POST", f"/tenants/{tenant}/users", **user)


def enrol_mailboxes(tenant: str, company: Any) -> None:
    """Enrol the users' mailboxes."""
    credential = {"Authorization": f"Bearer {os.environ['SERVICE_TOKEN']}"}
    mail_ingest_url = os.environ["MAIL_INGEST_URL"]
    with httpx2.Client(base_url=mail_ingest_url, headers=credential, timeout=30) as mail_ingest:
        for person in company.SELLERS:
            call(mail_ingest, "POST", "/mailboxes", tenant=tenant, mailbox=person.address)


def main() -> None:
    """Create users, mailboxes and records, then print where to sign in."""
    company: Any = importlib.import_module("sample_company")
    tenant = os.environ["TENANT"]
    add_users(tenant, company)
    enrol_mailboxes(tenant, company)
    asyncio.run(publish(company.records(tenant)))
    names = " or ".join(person.name for person in company.SELLERS)
    sys.stdout.write(
        f"the timeline is on http://127.0.0.1:18083, sign in as {names}; "
        "on http://127.0.0.1:18444 you can send mail and book meetings\n"
    )


if __name__ == "__main__":
    main()
