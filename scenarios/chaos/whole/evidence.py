"""The last evidence of a run, and its verdict."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from deploy.local.system import System
from scenarios.chaos.timelines import timelines
from simulator.control.client import TenantControl

from .databases import Databases
from .faults import DATABASES
from .history import History
from .join import RecordId
from .judge_answers import judge_answers
from .judge_matches import judge_activities, judge_matches
from .judge_tracks import judge_tracks
from .users import User, read_all
from .verdict import Verdict


async def collect(
    history: History,
    system: System,
    tenant: TenantControl,
    databases: Databases,
    owners: Sequence[User],
    records: Sequence[RecordId],
) -> None:
    """Add what the owners see at the end, what tracking has stored, and the simulator's history."""
    history.final = await read_all(owners, records)
    exported = await asyncio.to_thread(system.run_command, "services.tracking", "export")
    rows = map(json.loads, exported.splitlines())
    history.exported = {
        (row["mailbox"], row["item"]): {(type_, id_) for type_, id_ in row["matches"]} for row in rows
    }
    history.failed = await asyncio.to_thread(databases.failed_tracks, DATABASES["tracking"])
    history.until = datetime.now(UTC)
    entries = await asyncio.to_thread(lambda: list(tenant.simulator.history()))
    history.timelines = timelines(entries, history.owners)


def judge(history: History, since: datetime) -> Verdict:
    """Compare everything; `since` is the end of the changes."""
    verdict = Verdict()
    judge_activities(verdict, history, since)
    judge_matches(verdict, history)
    judge_tracks(verdict, history)
    judge_answers(verdict, history)
    return verdict
