"""The small company of the demo: who there is, and what their CRM holds.

Ann and Ben sell for Contoso. Fabrikam may renew its fleet; Carla decides there, and Eve, whom
nobody has put into the deal yet, advises her.
"""

from dataclasses import dataclass
from typing import Any

DOMAIN = "contoso.example"


class NotHappened(Exception):
    """A step of a story that did not happen in time."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of the story."""

    name: str
    address: str

    @property
    def first(self) -> str:
        """What colleagues call them."""
        return self.name.partition(" ")[0]

    def as_recipient(self) -> dict[str, str]:
        """For a mail's From, To and Cc."""
        return {"name": self.name, "address": self.address}


ANN = Person("Ann Lindqvist", f"ann.lindqvist@{DOMAIN}")
BEN = Person("Ben Okafor", f"ben.okafor@{DOMAIN}")
CARLA = Person("Carla Reyes", "carla.reyes@fabrikam.example")
DEEPAK = Person("Deepak Rao", "deepak.rao@fabrikam.example")
EVE = Person("Eve Moreau", "eve.moreau@adatum.example")
SELLERS = (ANN, BEN)

OPPORTUNITY = "opportunity", "fleet-renewal"
DEAL = "Fleet renewal"


def records(tenant: str) -> list[dict[str, Any]]:
    """What the CRM publishes at first."""
    of = {"tenant": tenant, "version": 1, "modified_on": "2026-11-20T09:12:00Z"}
    return [
        {
            **of,
            "type": "account",
            "id": "fabrikam",
            "name": "Fabrikam",
            "emails": ["office@fabrikam.example"],
            "primary_contact_id": "carla",
        },
        {
            **of,
            "type": "contact",
            "id": "carla",
            "name": CARLA.name,
            "emails": [CARLA.address],
            "parent_account_id": "fabrikam",
        },
        {
            **of,
            "type": "contact",
            "id": "deepak",
            "name": DEEPAK.name,
            "emails": [DEEPAK.address],
            "parent_account_id": "fabrikam",
        },
        {**of, "type": "contact", "id": "eve", "name": EVE.name, "emails": [EVE.address]},
        opportunity(tenant, version=1, stakeholders=[]),
    ]


def opportunity(tenant: str, *, version: int, stakeholders: list[str]) -> dict[str, Any]:
    """The deal, as it is at a version."""
    kind, id_ = OPPORTUNITY
    return {
        "tenant": tenant,
        "type": kind,
        "id": id_,
        "name": DEAL,
        "version": version,
        "modified_on": f"2026-11-2{version}T10:00:00Z",
        "contact_id": "carla",
        "stakeholder_ids": stakeholders,
    }
