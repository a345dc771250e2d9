"""The CRM record as upstream systems publish it on the topic `records`.

The key is `tenant/type/id` and the value the whole record as JSON; a tombstone means deleted. The last
message of a key *is* the record: while that message is invalid there is no such record.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from .clock import Timestamp
from .errors import InvalidMessageError
from .keys import RecordKey
from .message_parts import MessagePart, invalid_message_error

ACCOUNT, CONTACT, LEAD, OPPORTUNITY = "account", "contact", "lead", "opportunity"

Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f]+$")]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Address: TypeAlias = Annotated[str, Field(max_length=1000)]
Reader: TypeAlias = Annotated[str, Field(max_length=64, pattern=r"^(\*|(user|group):[^/\s]+)$")]
Readers: TypeAlias = Annotated[tuple[Reader, ...], Field(max_length=200)]
"""With these the largest event about an activity that is tracked on 60 records fits its topic."""


def _in_utc(value: object) -> object:
    """A time without a zone, as the same time in UTC; any other value as it is."""
    if isinstance(value, str):
        with suppress(ValueError):
            time = datetime.fromisoformat(value)
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return value


def _null_if_empty(value: object) -> object:
    return None if value == "" else value


def _null_if_empty_lookup(value: object) -> object:
    return None if isinstance(value, dict) and value.get("id") == "" else value


Link: TypeAlias = Annotated[Id | None, BeforeValidator(_null_if_empty)]
"""The id of another record; null or an empty string where there is none."""


class Record(MessagePart):
    """The fields of every record. A type that is none of the four below is a custom type."""

    tenant: Id = Field(description="The customer organisation, its Entra tenant id.")
    type: Id = Field(description="account, contact, lead, opportunity, or a custom type by its own name.")
    id: Id = Field(description="Unique within tenant and type; no slash.")
    name: str | None = Field(default=None, max_length=1000, description="Display name.")
    version: int | None = Field(
        default=None,
        ge=-(2**63),
        lt=2**63,
        description="Counted and reported when it decreases; the order of offsets decides.",
    )
    modified_on: Annotated[Timestamp, BeforeValidator(_in_utc)] | None = Field(
        default=None,
        description="Orders the first 50 and the cut at 1,000; absent sorts oldest; UTC without a zone.",
    )
    readers: Readers | None = Field(
        default=None,
        description="Readers of its timeline: `*`, `user:<oid>`, `group:<id>`; absent: the tenant's setting.",
    )
    emails: tuple[Address | None, ...] | None = Field(
        default=None,
        max_length=1000,
        description="The first is its Email (null: none); all that are not null are its e-mail addresses.",
    )

    @property
    def key(self) -> RecordKey:
        return RecordKey(self.tenant, self.type, self.id)


class Account(Record):
    """A company."""

    type: Literal["account"]
    primary_contact_id: Link = None


class Contact(Record):
    """A person."""

    type: Literal["contact"]
    parent_account_id: Link = None


class ContactSection(MessagePart):
    """The Contact section of a lead."""

    name: str | None = Field(default=None, max_length=1000)
    email: Address | None = None


class Lead(Record):
    """A person or company that may become a customer."""

    type: Literal["lead"]
    contact: ContactSection | None = None
    contact_id: Link = None


class Opportunity(Record):
    """A deal in the making."""

    type: Literal["opportunity"]
    contact_id: Link = None
    stakeholder_ids: tuple[Link, ...] | None = Field(default=None, max_length=10_000)
    account_id: Link = None
    lead_id: Link = None


class Lookup(MessagePart):
    """A field of a custom record that points at an account or a contact."""

    type: Literal["account", "contact"]
    id: Id


OptionalLookup: TypeAlias = Annotated[Lookup | None, BeforeValidator(_null_if_empty_lookup)]
"""A lookup; null, or one with an empty id, where it points at nothing."""


class CustomRecord(Record):
    """A record of a custom type."""

    lookups: dict[Name, OptionalLookup] | None = Field(default=None, max_length=100)


AnyRecord: TypeAlias = Account | Contact | Lead | Opportunity | CustomRecord

RECORD_MODELS: dict[str, type[AnyRecord]] = {
    ACCOUNT: Account,
    CONTACT: Contact,
    LEAD: Lead,
    OPPORTUNITY: Opportunity,
}
"""The model of each built-in type; every other type is a `CustomRecord`."""


class _TypeOnly(MessagePart):
    type: Id


class _Key(MessagePart):
    tenant: Id
    type: Id
    id: Id


def parse_key(key: bytes | None) -> RecordKey:
    """The key of a message on `records`; raises InvalidMessageError."""
    try:
        tenant, kind, id_ = (key or b"").decode().split("/")
        _Key(tenant=tenant, type=kind, id=id_)
    except ValueError:  # not UTF-8, not three parts, or a part that is not an id
        raise InvalidMessageError("the key is not tenant/type/id", "key") from None
    return RecordKey(tenant, kind, id_)


def read_record(value: bytes | str) -> AnyRecord:
    """The record in a JSON text; raises InvalidMessageError with the path of the wrong field."""
    try:
        kind = _TypeOnly.model_validate_json(value).type
        return RECORD_MODELS.get(kind, CustomRecord).model_validate_json(value)
    except ValidationError as invalid:
        raise invalid_message_error(invalid) from None


def modified_timestamp(record: Record) -> float:
    """Seconds since 1970 of the last change, for ordering; an absent one sorts oldest."""
    modified_on: datetime | None = record.modified_on
    return modified_on.timestamp() if modified_on else float("-inf")
