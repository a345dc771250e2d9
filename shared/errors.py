"""The three fates of a message (design: promise 3).

* `Transient`: do not commit, keep polling paused, back off, try again.
* `Rejected`: dead-letter with the reason, commit.
* anything else: stop the process, uncommitted.
"""


class Transient(Exception):
    """Something around us is away for now; the same message will do later."""


class Rejected(Exception):
    """This message can never be taken.

    Attributes:
        reason: what is wrong, in words that hold no value of the message.
        field: path of the offending field, such as `emails.1`; empty when it is the whole message.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field
