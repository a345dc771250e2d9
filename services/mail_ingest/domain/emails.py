"""Graph's `message` -> an e-mail activity.

Participants are copied verbatim from From, To and Cc; Bcc, Sender and Reply-To are never read.
"""

from shared.addresses import normalise
from shared.events import Activity, ActivityKind, Direction, ParticipantRole, Sensitivity

from .activities import CAPTURE_WINDOW, MailboxOwner, NotCaptured, NotCapturedReason
from .folders import Folders
from .graph_values import identity, participants
from .payload_reader import PayloadReader

FOLDER_FIELD = "parentFolderId"

SENSITIVITY_PROPERTY = "Integer 0x36"
"""PidTagSensitivity: `message` has no sensitivity of its own in Graph v1.0."""
SENSITIVITIES = {
    "0": Sensitivity.NORMAL,
    "1": Sensitivity.PERSONAL,
    "2": Sensitivity.PRIVATE,
    "3": Sensitivity.CONFIDENTIAL,
}
"""Value of that property -> sensitivity."""


def normalise_message(
    item: str, payload: PayloadReader, owner: MailboxOwner, folders: Folders
) -> Activity | NotCaptured:
    """The activity of a message, in any folder and of any age.

    Args:
        item: its id.
        payload: Graph's `message`.
        owner: of the mailbox that holds it.
        folders: the mailbox's folder tree; a message in Sent Items or below is outgoing.
    """
    if payload.has_type("eventmessage"):
        return NotCaptured(NotCapturedReason.MEETING_MAIL)
    if payload.flag("isDraft"):
        return NotCaptured(NotCapturedReason.DRAFT)
    received_at, sent_at = payload.time("receivedDateTime"), payload.time("sentDateTime")
    everyone = (
        *participants(ParticipantRole.FROM, [payload.object("from")]),
        *participants(ParticipantRole.TO, payload.objects("toRecipients")),
        *participants(ParticipantRole.CC, payload.objects("ccRecipients")),
    )
    senders = [normalise(each.address) for each in everyone if each.role is ParticipantRole.FROM]
    in_sent_items = payload.text(FOLDER_FIELD) in folders.sent
    outgoing = in_sent_items or any(sender in owner.addresses for sender in senders)
    at = (sent_at or received_at) if outgoing else (received_at or sent_at)
    if at is None:
        return NotCaptured(NotCapturedReason.NO_DATE)
    message_id = payload.text("internetMessageId")
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=ActivityKind.EMAIL,
        identity=identity(message_id, *senders, sent_at) if message_id else identity(owner.mailbox, item),
        subject=payload.text("subject") or "",
        participants=everyone,
        direction=Direction.OUTGOING if outgoing else Direction.INCOMING,
        at=at,
        visible_from=at,
        visible_until=at + CAPTURE_WINDOW,
        sent_at=sent_at,
        received_at=received_at,
        sensitivity=_sensitivity(payload),
        internet_message_id=message_id,
        original_start=None,
        conversation=payload.text("conversationId"),
        web_link=payload.text("webLink"),
    )


def _sensitivity(payload: PayloadReader) -> Sensitivity:
    for extended in payload.objects("singleValueExtendedProperties"):
        if (extended.text("id") or "").lower() == SENSITIVITY_PROPERTY.lower():
            return SENSITIVITIES.get(extended.text("value") or "", Sensitivity.NORMAL)
    return Sensitivity.NORMAL
