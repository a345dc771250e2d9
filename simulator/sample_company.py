"""The sample company of the demo: its people and the records of its CRM.

Ann and Ben are sellers of Contoso. Fabrikam may renew its fleet; Carla decides there. Eve advises Carla,
and is no stakeholder of the opportunity yet. This module imports only the standard library, because the
container system uses it without the simulator (deploy/compose/company.py).
"""

from dataclasses import dataclass
from typing import Any

DOMAIN = "contoso.example"


@dataclass(frozen=True, slots=True)
class Person:
    """A person with an e-mail address."""

    name: str
    address: str

    @property
    def first_name(self) -> str:
        """The first name."""
        return self.name.partition(" ")[0]

    def as_recipient(self) -> dict[str, str]:
        """The JSON of a recipient in the control interface."""
        return {"name": self.name, "address": self.address}


ANN = Person("Ann Lindqvist", f"ann.lindqvist@{DOMAIN}")
BEN = Person("Ben Okafor", f"ben.okafor@{DOMAIN}")
CARLA = Person("Carla Reyes", "carla.reyes@fabrikam.example")
DEEPAK = Person("Deepak Rao", "deepak.rao@fabrikam.example")
EVE = Person("Eve Moreau", "eve.moreau@adatum.example")
SELLERS = (ANN, BEN)

OPPORTUNITY = "opportunity", "fleet-renewal"
OPPORTUNITY_NAME = "Fleet renewal"


def records(tenant: str) -> list[dict[str, Any]]:
    """The records that the CRM publishes first."""
    common = {"tenant": tenant, "version": 1, "modified_on": "2026-11-20T09:12:00Z"}
    return [
        {
            **common,
            "type": "account",
            "id": "fabrikam",
            "name": "Fabrikam",
            "emails": ["office@fabrikam.example"],
            "primary_contact_id": "carla",
        },
        {
            **common,
            "type": "contact",
            "id": "carla",
            "name": CARLA.name,
            "emails": [CARLA.address],
            "parent_account_id": "fabrikam",
        },
        {
            **common,
            "type": "contact",
            "id": "deepak",
            "name": DEEPAK.name,
            "emails": [DEEPAK.address],
            "parent_account_id": "fabrikam",
        },
        {**common, "type": "contact", "id": "eve", "name": EVE.name, "emails": [EVE.address]},
        opportunity(tenant, version=1, stakeholders=[]),
    ]


def opportunity(tenant: str, *, version: int, stakeholders: list[str]) -> dict[str, Any]:
    """The opportunity in one version."""
    kind, id_ = OPPORTUNITY
    return {
        "tenant": tenant,
        "type": kind,
        "id": id_,
        "name": OPPORTUNITY_NAME,
        "version": version,
        "modified_on": f"2026-11-2{version}T10:00:00Z",
        "contact_id": "carla",
        "stakeholder_ids": stakeholders,
    }
