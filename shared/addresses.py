"""The form in which two e-mail addresses are compared."""

import unicodedata
from functools import lru_cache

import idna

MAX_CHARACTERS = 320
"""Of an address (RFC 5321). NFC takes a time that grows with the square of a text's length: 40,000 combining
characters take 15 s."""
INVISIBLE = "Cf"
"""Unicode's category of format characters, such as a zero-width space and a byte order mark."""


@lru_cache(maxsize=65_536)
def normalise(address: str) -> str:
    """Returns the comparable form of an address.

    The address is trimmed and lower-cased, its local part becomes NFC, and its domain IDNA (UTS-46) ASCII.
    A domain that IDNA refuses stays lower-cased, and so does text that is no address. Plus signs and dots
    in the local part stay: folding them is a rule of some providers, not of mail. What is longer than
    `MAX_CHARACTERS` is no address.
    """
    address = (address.strip() if address.isascii() else trimmed(address)).lower()
    local, at, domain = address.rpartition("@")
    if not at or len(address) > MAX_CHARACTERS:
        return address
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    if domain.isascii() and "xn--" not in domain:
        return f"{local}@{domain}"
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return f"{local}@{domain}"


def trimmed(text: str) -> str:
    """The text without white space and invisible characters at both ends."""
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == INVISIBLE
