"""The configuration that several modules compare with."""

import pytest

from .compose import TRIAL, Config, read_services


@pytest.fixture(scope="session")
def trial() -> dict[str, Config]:
    """The services of the command with the simulator."""
    return read_services({}, f"--env-file={TRIAL}")
