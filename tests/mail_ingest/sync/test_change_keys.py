"""The change key of an item: it can be stored, whatever Graph sends."""

from typing import Any

import pytest

from services.mail_ingest.sync.item_reader import MAX_CHANGE_KEY_LENGTH, change_key_of


@pytest.mark.parametrize(
    "payload, key",
    [
        ({"changeKey": "k1", "@odata.etag": "e"}, "k1"),
        ({"@odata.etag": 'W/"k1"'}, 'W/"k1"'),
        ({"changeKey": ["k"], "@odata.etag": "e"}, "e"),
        ({"changeKey": "k\ud83d"}, "k\ufffd"),
        ({"changeKey": {"k": 1}}, ""),
        ({}, ""),
    ],
)
def test_change_key_is_a_text_that_every_encoding_has(payload: dict[str, Any], key: str) -> None:
    assert change_key_of(payload) == key


def test_long_change_keys_are_short_and_differ() -> None:
    keys = {change_key_of({"changeKey": f"{'k' * 100_000}{number}"}) for number in range(3)}
    assert len(keys) == 3
    assert max(map(len, keys)) <= MAX_CHANGE_KEY_LENGTH
