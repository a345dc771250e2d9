"""What the activity of an item must be, from the simulator's own state of it.

A second opinion: no code of mail-ingest is used. A published activity is compared field by field, all but its
identity, which is any text that is equal for equal `Expected.identity` and different for different ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Json = dict[str, Any]

THREE_DAYS = timedelta(days=3)
PARTICIPATING = ("required", "optional")
"""A resource is no participant."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An activity as it must be published, while it is visible.

    Attributes:
        fields: of the message on `activities`, without `identity`.
        identity: what makes copies in several mailboxes the same thing.
    """

    fields: Mapping[str, Any]
    identity: tuple[str, ...]

    @property
    def enters_by_clock(self) -> bool:
        """Whether the clock alone makes it an activity: a meeting before its three days is none."""
        return bool(self.fields["kind"] == "meeting")

    @property
    def visible_from(self) -> datetime:
        """A meeting is no activity before."""
        return self.fields["visible_from"]  # type: ignore[no-any-return]

    @property
    def visible_until(self) -> datetime:
        """No activity from then on."""
        return self.fields["visible_until"]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class FolderTree:
    """The folders of a mailbox: which are live, and which are Sent Items or below."""

    parents: Mapping[str, str]
    well_known: Mapping[str, str]

    def is_live(self, folder: str) -> bool:
        """Whether it is under the root, and neither Junk, Deleted Items nor below them."""
        dead = {self.well_known["junkemail"], self.well_known["deleteditems"]}
        path = self._path(folder)
        return path[-1] == self.well_known["msgfolderroot"] and dead.isdisjoint(path)

    def is_sent(self, folder: str) -> bool:
        """Whether it is Sent Items or below."""
        return self.well_known["sentitems"] in self._path(folder)

    def _path(self, folder: str) -> list[str]:
        """The folder and those above it; the root is its own parent."""
        path = [folder]
        while (parent := self.parents.get(path[-1])) is not None and parent not in path:
            path.append(parent)
        return path


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a mailbox, with all addresses in lower case."""

    tenant: str
    mailbox: str
    addresses: frozenset[str]


def expected_message(owner: Owner, item: str, state: Json, folders: FolderTree) -> Expected | None:
    """The activity of a message; None while it is none, whatever the time."""
    if state["draft"] or state["about_meeting"] or not folders.is_live(state["folder"]):
        return None
    sent, received = _time(state["sent"]), _time(state["received"])
    sender = state["from"][1] if state["from"] else ""
    outgoing = folders.is_sent(state["folder"]) or sender.strip().lower() in owner.addresses
    at = sent if outgoing else received
    people = [("from", state["from"]), *(("to", each) for each in state["to"])]
    people += [("cc", each) for each in state["cc"]]
    message_id = state["message_id"]
    return Expected(
        fields={
            **_common(owner, item, state),
            "kind": "email",
            "participants": tuple(_participants(people)),
            "direction": "outgoing" if outgoing else "incoming",
            "at": at,
            "visible_from": at,
            "visible_until": at + THREE_DAYS,
            "sent_at": sent,
            "received_at": received,
            "internet_message_id": message_id,
            "conversation": state["conversation"],
        },
        identity=(
            ("email", message_id, sender.strip().lower(), state["sent"])
            if message_id
            else ("email", owner.mailbox, item)
        ),
    )


def expected_meeting(owner: Owner, occurrence: Json) -> Expected:
    """The activity of a meeting or of an occurrence of a series, whatever the time."""
    start, end, original = _time(occurrence["start"]), _time(occurrence["end"]), occurrence["original_start"]
    people = [("organizer", occurrence["organizer"])]
    people += [(kind, person) for kind, *person in occurrence["attendees"] if kind in PARTICIPATING]
    return Expected(
        fields={
            **_common(owner, occurrence["item"], occurrence),
            "kind": "meeting",
            "participants": tuple(_participants(people)),
            "at": start,
            "visible_from": start - THREE_DAYS,
            "visible_until": end + THREE_DAYS,
            "start": start,
            "end": end,
            "all_day": occurrence["all_day"],
            "cancelled": occurrence["cancelled"],
            "ical_uid": occurrence["uid"],
            "original_start": _time(original) if original else None,
        },
        identity=("meeting", occurrence["uid"], original or ""),
    )


def _common(owner: Owner, item: str, state: Json) -> Json:
    """The fields that both kinds have, and the values of those that only the other kind has."""
    return {
        "tenant": owner.tenant,
        "mailbox": owner.mailbox,
        "item": item,
        "subject": state["subject"],
        "sensitivity": state["sensitivity"],
        "web_link": state["link"],
        "direction": None,
        "sent_at": None,
        "received_at": None,
        "start": None,
        "end": None,
        "all_day": False,
        "cancelled": False,
        "internet_message_id": None,
        "ical_uid": None,
        "original_start": None,
        "conversation": None,
    }


def _participants(people: list[tuple[str, list[str]]]) -> Iterator[Json]:
    for role, person in people:
        if person and person[1].strip():
            yield {"role": role, "address": person[1], "name": person[0] or None}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
