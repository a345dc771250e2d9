"""The CRM record as upstream systems publish it on the topic `records`.

The key is `tenant/type/id`, the value the whole record as JSON, a tombstone says deleted. The last
message of a key *is* the record; one that is refused here is not there until a good one comes.
"""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .clock import Moment
from .errors import Rejected

ACCOUNT, CONTACT, LEAD, OPPORTUNITY = "account", "contact", "lead", "opportunity"

Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f]+$")]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Address: TypeAlias = Annotated[str, Field(max_length=1000)]
Reader: TypeAlias = Annotated[str, Field(pattern=r"^(\*|(user|group):[^/\s]+)$")]

RecordKey: TypeAlias = tuple[str, str, str]
"""(tenant, type, id)"""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Record(_Model):
    """What every record has. A type that is none of the four below is a custom one."""

    tenant: Id = Field(description="The customer organisation, its Entra tenant id.")
    type: Id = Field(description="account, contact, lead, opportunity, or a custom type by its own name.")
    id: Id = Field(description="Unique within tenant and type; no slash.")
    name: str | None = Field(default=None, max_length=1000, description="What people call it.")
    version: int | None = Field(
        default=None,
        ge=-(2**63),
        lt=2**63,
        description="Counted and reported when it goes down; offset order is the truth.",
    )
    modified_on: Moment | None = Field(
        default=None, description="Orders the first 50 and the cut at 1,000; absent sorts oldest."
    )
    readers: tuple[Reader, ...] | None = Field(
        default=None,
        description="Who may read its timeline: `*`, `user:<oid>`, `group:<id>`; absent: the tenant's setting.",
    )
    emails: tuple[Address | None, ...] | None = Field(
        default=None,
        max_length=1000,
        description="The first is its Email (null: it has none); all that are not null are its e-mail addresses.",
    )

    @property
    def key(self) -> RecordKey:
        return self.tenant, self.type, self.id


class Account(Record):
    """A company."""

    type: Literal["account"]
    primary_contact_id: Id | None = None


class Contact(Record):
    """A person."""

    type: Literal["contact"]
    parent_account_id: Id | None = None


class ContactSection(_Model):
    """The Contact section as somebody wrote it into a lead."""

    name: str | None = Field(default=None, max_length=1000)
    email: Address | None = None


class Lead(Record):
    """A person or company that may become a customer."""

    type: Literal["lead"]
    contact: ContactSection | None = None
    contact_id: Id | None = None


class Opportunity(Record):
    """A deal in the making."""

    type: Literal["opportunity"]
    contact_id: Id | None = None
    stakeholder_ids: tuple[Id, ...] | None = Field(default=None, max_length=10_000)
    account_id: Id | None = None
    lead_id: Id | None = None


class Lookup(_Model):
    """A custom record's field that points at an account or a contact."""

    type: Literal["account", "contact"]
    id: Id


class Custom(Record):
    """A record of a type of the customer's own."""

    lookups: dict[Name, Lookup | None] | None = Field(default=None, max_length=100)


AnyRecord: TypeAlias = Account | Contact | Lead | Opportunity | Custom

MODELS: dict[str, type[AnyRecord]] = {
    ACCOUNT: Account,
    CONTACT: Contact,
    LEAD: Lead,
    OPPORTUNITY: Opportunity,
}
"""The model of each built-in type; every other type is `Custom`."""


class _Head(_Model):
    type: Id


class _Key(_Model):
    tenant: Id
    type: Id
    id: Id


def parse_key(key: bytes | None) -> RecordKey:
    """(tenant, type, id) of a message key on `records`, or Rejected."""
    try:
        tenant, kind, id_ = (key or b"").decode().split("/")
        _Key(tenant=tenant, type=kind, id=id_)
    except ValueError:  # not UTF-8, not three parts, or a part that is no id
        raise Rejected("the key is not tenant/type/id", "key") from None
    return tenant, kind, id_


def parse_record(key: bytes | None, value: bytes) -> AnyRecord:
    """The record that a message carries, or Rejected with the path of the field that is wrong."""
    expected = parse_key(key)
    record = read_record(value)
    for field, of_key, of_body in zip(("tenant", "type", "id"), expected, record.key, strict=True):
        if of_key != of_body:
            raise Rejected("key and body do not agree", field)
    return record


def read_record(value: bytes | str) -> AnyRecord:
    """The record that a JSON text holds, or Rejected; for texts that have no key."""
    try:
        kind = _Head.model_validate_json(value).type
        return MODELS.get(kind, Custom).model_validate_json(value)
    except ValidationError as invalid:
        raise rejected(invalid) from None


def rejected(invalid: ValidationError) -> Rejected:
    """The first thing that a model found wrong, without the value that it found."""
    first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    return Rejected(first["msg"], ".".join(str(part) for part in first["loc"]))


def modified(record: Record) -> float:
    """Seconds since 1970 of the last change, for ordering; absent sorts oldest."""
    moment: datetime | None = record.modified_on
    return moment.timestamp() if moment else float("-inf")
