"""Keys of messages."""

import pytest

from shared.keys import ItemKey, MailboxKey, RecordKey, join_key, split_key


def test_a_key_is_restored_from_its_text() -> None:
    key = ItemKey("contoso", "mia", "AAMk/=")
    assert split_key(ItemKey, join_key(key)) == key
    assert isinstance(split_key(ItemKey, join_key(key)), ItemKey)


@pytest.mark.parametrize("text", ["", "contoso/mia", "contoso//1", "/mia/1", "contoso/mia/"])
def test_a_text_with_missing_parts_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="the key is not tenant/mailbox/item"):
        split_key(ItemKey, text)


def test_an_item_has_its_mailbox() -> None:
    assert ItemKey("contoso", "mia", "1").mailbox_key == MailboxKey("contoso", "mia")


def test_keys_of_two_types_with_equal_parts_are_equal() -> None:
    """Therefore keys of two types never share a mapping."""
    assert tuple(ItemKey("a", "b", "c")) == tuple(RecordKey("a", "b", "c"))
