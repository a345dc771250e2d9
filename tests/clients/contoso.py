"""The tenant of these tests: two users, and Ann's messages."""

from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.control.client import TenantControl

ANN, BOB = "ann@contoso.example", "bob@contoso.example"


def timestamp(moment: datetime) -> str:
    """A date-time as users of Graph write it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def put(tenant: TenantControl, count: int, folder: str = "inbox") -> list[dict[str, Any]]:
    """Ann's messages `Mail 0`, `Mail 1`, … of the last hours, oldest first."""
    now = datetime.now(UTC)
    return [
        tenant.put(
            ANN,
            **{"from": "pat@fabrikam.com"},
            to=[ANN],
            subject=f"Mail {number}",
            folder=folder,
            received=(now - timedelta(hours=count - number)).isoformat(),
        )
        for number in range(count)
    ]


def oid(tenant: TenantControl, address: str) -> str:
    return next(str(user["oid"]) for user in tenant.show()["users"] if user["address"] == address)


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["subject"] for item in items]
