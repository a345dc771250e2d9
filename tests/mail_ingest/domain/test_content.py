"""What fits of a text."""

import pytest

from services.mail_ingest.domain.content import cut


@pytest.mark.parametrize(
    "text, most, fits",
    [
        ("abc", 3, ("abc", False)),
        ("abcd", 3, ("abc", True)),
        ("aä", 2, ("a", True)),
        ("€€", 5, ("€", True)),
        ("", 0, ("", False)),
        ("\ud800", 9, ("?", False)),
    ],
)
def test_a_text_ends_between_characters(text: str, most: int, fits: tuple[str, bool]) -> None:
    assert cut(text, most) == fits
