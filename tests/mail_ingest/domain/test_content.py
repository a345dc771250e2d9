"""The size limit of a text."""

import pytest

from services.mail_ingest.domain.content import cut_text


@pytest.mark.parametrize(
    "text, max_bytes, expected",
    [
        ("abc", 3, ("abc", False)),
        ("abcd", 3, ("abc", True)),
        ("aä", 2, ("a", True)),
        ("€€", 5, ("€", True)),
        ("", 0, ("", False)),
        ("\ud800", 9, ("?", False)),
    ],
)
def test_text_is_cut_between_characters(text: str, max_bytes: int, expected: tuple[str, bool]) -> None:
    assert cut_text(text, max_bytes) == expected
