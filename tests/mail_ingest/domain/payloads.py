"""Graph payloads for tests."""

from typing import Any


def person(address: Any, name: Any = None) -> dict[str, Any]:
    return {"emailAddress": {"address": address, "name": name}}


def message(**changes: Any) -> dict[str, Any]:
    payload = {
        "id": "m1",
        "parentFolderId": "inbox",
        "subject": "Offer",
        "from": person("x@fabrikam.com", "X"),
        "sender": person("delegate@fabrikam.com"),
        "replyTo": [person("reply@fabrikam.com")],
        "toRecipients": [person("Ann@Contoso.com")],
        "ccRecipients": [person("bo@fabrikam.com")],
        "bccRecipients": [person("hidden@fabrikam.com")],
        "receivedDateTime": "2026-11-24T10:00:00Z",
        "sentDateTime": "2026-11-24T09:59:00Z",
        "internetMessageId": "<1@fabrikam.com>",
    }
    return {**payload, **changes}


def event(**changes: Any) -> dict[str, Any]:
    payload = {
        "id": "e1",
        "type": "singleInstance",
        "iCalUId": "uid-1",
        "subject": "Kick-off",
        "start": {"dateTime": "2026-11-24T14:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-24T15:00:00.0000000", "timeZone": "UTC"},
        "organizer": person("ann@contoso.com"),
        "attendees": [
            {"type": "required", **person("ann@contoso.com")},
            {"type": "optional", **person("bo@fabrikam.com")},
            {"type": "resource", **person("projector@contoso.com")},
        ],
    }
    return {**payload, **changes}
