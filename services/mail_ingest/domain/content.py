"""The size limit of a text."""

MAX_TEXT_BYTES = 900_000
"""Of a text as UTF-8; the rest of a message of 1 MiB is for the activity and for JSON's escapes."""


def cut_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> tuple[str, bool]:
    """A text, or its longest start that fits, and whether it was cut; no character is split."""
    data = text.encode(errors="replace")
    if len(data) <= max_bytes:
        return data.decode(), False
    return data[:max_bytes].decode(errors="ignore"), True
