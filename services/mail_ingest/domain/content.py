"""What fits into a message of text."""

MOST_BYTES = 900_000
"""Of a text as UTF-8; the rest of a message of 1 MiB is for the activity and what JSON adds."""


def cut(text: str, most: int = MOST_BYTES) -> tuple[str, bool]:
    """A text, or as much of its beginning as fits, and whether it was cut; no character is split."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode(), False
    return data[:most].decode(errors="ignore"), True
