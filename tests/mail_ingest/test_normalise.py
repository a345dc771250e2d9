"""The command that shows what Graph payloads become; it needs only the files."""

import json
from pathlib import Path
from typing import Any

from tests.mail_ingest.domain.payloads import event, message
from tests.support import forks


def normalise(*files: Path, arguments: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]], str]:
    done = forks.run("services.mail_ingest", "normalise", *files, *arguments)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_each_item_becomes_a_line(tmp_path: Path) -> None:
    payloads: dict[str, Any] = {
        "message": message(),
        "event": event(),
        "collection": {
            "value": [
                message(),
                {"@odata.type": "#microsoft.graph.eventMessageRequest", **message()},
                {"id": "x", "@removed": {"reason": "deleted"}},
            ]
        },
        "notification": {
            "value": [{"subscriptionId": "s", "changeType": "created", "resourceData": {"id": "m1"}}]
        },
        "event_by_its_fields": {"isDraft": False, **event()},
        "calendar_sharing": {"@odata.type": "#microsoft.graph.calendarSharingMessage", **message()},
        "nothing": {"value": []},
        "no_id": message(id=None),
        "folder": {"id": "f", "displayName": "Inbox"},
        "number": 7,
    }
    files = []
    for name, payload in payloads.items():
        (file := tmp_path / f"{name}.json").write_text(json.dumps(payload))
        files.append(file)

    status, lines, _ = normalise(*files)

    assert status == 0
    assert [(Path(line["file"]).stem, line.get("refused") or line["activity"]["kind"]) for line in lines] == [
        ("message", "email"),
        ("event", "meeting"),
        ("collection", "email"),
        ("collection", "meeting_mail"),
        ("collection", "gone"),
        ("notification", "notification"),
        ("event_by_its_fields", "meeting"),
        ("calendar_sharing", "email"),
        ("nothing", "empty"),
        ("no_id", "malformed"),
        ("folder", "neither_message_nor_event"),
        ("number", "neither_message_nor_event"),
    ]


def test_unreadable_file_fails_and_the_others_are_shown(tmp_path: Path) -> None:
    (broken := tmp_path / "broken.json").write_text("{")
    (good := tmp_path / "good.json").write_text(
        json.dumps(message(**{"from": {"emailAddress": {"address": "ann@contoso.com"}}}))
    )

    status, lines, errors = normalise(
        broken,
        tmp_path / "none.json",
        good,
        arguments=("--address", "ANN@contoso.com", "--now", "2026-12-24T00:00:00Z"),
    )

    assert status == 1
    assert [line["refused"] for line in lines] == ["out_of_window"]
    assert "broken.json" in errors
    assert "none.json" in errors
