"""Ann's mail about the renewal in the API: its paths, and the states of a timeline."""

from typing import Any

ON = "/records/opportunity/renewal"
MAIL = f"{ON}/suggestions/mail-1"


def states(timeline: dict[str, Any]) -> list[tuple[str, str]]:
    return [(tile["item"], tile["state"]) for tile in timeline["suggestions"]]
