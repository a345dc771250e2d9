"""The run under faults itself: small in `make test`, of full size in the section `chaos`."""

from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from scenarios.chaos.capture import SMALL, Size, run_capture
from tests.support import forks

SEED = 7

pytestmark = pytest.mark.timeout(240)  # a whole system starts first, on a busy machine


@pytest.mark.sized("chaos")
@pytest.mark.usefixtures("mongodb_database")
async def test_capture_stays_right_under_faults(
    stack: LocalStack, kafka: str, mongodb_uri: str, topic_prefix: str, tmp_path: Path, full_size: bool
) -> None:
    size = Size() if full_size else SMALL
    report = await run_capture(stack, tmp_path, SEED, size, prefix=topic_prefix, modules=forks)
    lines = "\n".join(report.lines())
    assert report.is_right, lines
    assert sum(report.made.values()) == size.changes + report.quiet_changes, lines
    assert report.missed > 0, "the first changes came without a notification\n" + lines
    assert (report.kills, report.verdict.checked["messages"] > size.changes / 2) == (size.kills, True), lines
    idle = {name for name in report.injected if not report.answered.get(name)}
    assert len(report.injected) - len(idle) >= len(report.injected) / 3, f"{idle} hit nothing\n{lines}"
