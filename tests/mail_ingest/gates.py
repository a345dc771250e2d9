"""A gate that a test opens."""

from services.mail_ingest.recovery.gate import StoreGate


def open_gate() -> StoreGate:
    """A gate that is open."""
    gate = StoreGate()
    gate.open()
    return gate
