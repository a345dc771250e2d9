"""The form in which two e-mail addresses are compared."""

from functools import lru_cache

import idna


@lru_cache(maxsize=65_536)
def normalise(address: str) -> str:
    """Returns the comparable form of an address.

    The address is trimmed and lower-cased, and its domain becomes IDNA (UTS-46) ASCII. A domain that
    IDNA refuses stays lower-cased, and so does text that is no address. Plus signs and dots in the
    local part stay: folding them is a rule of some providers, not of mail.
    """
    address = address.strip().lower()
    local, at, domain = address.rpartition("@")
    if not at or (domain.isascii() and "xn--" not in domain):
        return address
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return address
