"""Errors of scenarios."""


class StepFailedError(Exception):
    """An expected result did not occur in time; the scenario ends with a failure."""


class UnusableArchiveError(Exception):
    """The given paths hold no archive; the message is one sentence with the missing part."""
