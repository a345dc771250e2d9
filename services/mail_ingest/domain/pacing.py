"""How fast a long piece of work goes on beside the work of other mailboxes."""

PAUSE_PART, MAX_PAUSE = 9.0, 1.0
"""The pause is nine times as long as the work before it, in seconds, and at most so long."""


def pause_after(seconds: float) -> float:
    """How long work on very many items pauses, in seconds, after a piece that took so many seconds.

    A mailbox with 50,000 messages would otherwise occupy its replica, and delay the mail of all others.
    """
    return min(PAUSE_PART * seconds, MAX_PAUSE)
