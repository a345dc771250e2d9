"""Values that Graph's JSON and our queries share: participants, identities, times."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256

from shared.events import Participant, ParticipantRole

from .payload_reader import PayloadReader


def format_time(time: datetime) -> str:
    """A time as Graph's queries and bodies take it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def participants(role: ParticipantRole, recipients: Iterable[PayloadReader]) -> Iterator[Participant]:
    """The participants of a list of recipients; a recipient without an address is skipped."""
    for recipient in recipients:
        email = recipient.object("emailAddress")
        if (address := email.text("address")) and address.strip():
            yield Participant(role=role, address=address, name=email.text("name"))


def identity(*parts: str | datetime | None) -> str:
    """A digest that is equal for all copies of one message or meeting."""
    texts = (part.isoformat() if isinstance(part, datetime) else part or "" for part in parts)
    return sha256("\x1f".join(texts).encode()).hexdigest()[:32]
