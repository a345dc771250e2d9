"""The run of the whole system itself: small in `make test`, of full size in the section `chaos`."""

from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from scenarios.chaos.whole.run import SMALL, Size, run_whole
from tests.support import forks

pytestmark = [
    pytest.mark.timeout(600),  # a whole system starts first, on a busy machine
    pytest.mark.usefixtures("kafka", "mongodb_database"),
]


async def run(stack: LocalStack, folder: Path, prefix: str, seed: int, size: Size) -> None:
    """A run, in which everything must be right and every fault must happen."""
    report = await run_whole(stack, folder, seed, size, prefix=prefix, modules=forks)
    lines = "\n".join(report.lines())
    assert report.is_right, lines
    assert (len(report.faults), report.verdict.checked["accepted Tracks"] > 0) == (size.kills, True), lines
    assert report.verdict.checked["answers to readers: 200"] > size.changes, lines


async def test_whole_system_stays_right_under_faults(
    stack: LocalStack, mongodb_uri: str, topic_prefix: str, tmp_path: Path
) -> None:
    await run(stack, tmp_path, topic_prefix, 7, SMALL)


@pytest.mark.full("chaos")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whole_system_stays_right_under_ten_faults_of_all_kinds(
    stack: LocalStack, mongodb_uri: str, topic_prefix: str, tmp_path: Path, seed: int
) -> None:
    await run(stack, tmp_path, topic_prefix, seed, Size())
