"""What makes two e-mail addresses the same."""

from functools import lru_cache

import idna


@lru_cache(maxsize=65_536)
def normalise(address: str) -> str:
    """The form in which addresses are compared.

    Trimmed, lower-cased, and the domain in its IDNA (UTS-46) ASCII form. A domain that IDNA refuses
    stays lower-cased as it is, and so does what is no address at all. No plus-folding and no
    dot-folding: those are rules of some providers, not of mail.
    """
    address = address.strip().lower()
    local, at, domain = address.rpartition("@")
    if not at or (domain.isascii() and "xn--" not in domain):
        return address
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return address
