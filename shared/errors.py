"""The three ways in which the work on a message can fail.

* Retryable: the handler raises `RetryableError`. The consumer commits nothing, pauses the partitions,
  backs off, and tries the batch again.
* Invalid message: the decoder finds an `InvalidMessageError`, or the handler passes one to
  `Batch.dead_letter`. The consumer writes the message to the dead-letter topic with the reason, and commits.
  A handler that cannot name the message raises it, and gets the messages of the batch again one by one.
* Fatal: the handler raises any other exception. The process stops without a commit.
"""


class RetryableError(Exception):
    """A system that we need is unavailable; the same work succeeds later without a change of ours."""


class MisconfiguredError(Exception):
    """The service refuses to run until an operator mends what the text names; the exit status is 2."""


class InvalidMessageError(Exception):
    """A message that no retry can make valid.

    Attributes:
        reason: what is wrong, without any value of the message.
        field: path of the offending field, such as `emails.1`; empty when the whole message is wrong.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field
