"""How a run with workers (`pytest -n`) divides the tests among them."""

from fnmatch import fnmatch

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

ONE_UNIT = ("tests/page/*",)
"""Modules that share a running system and a browser: one unit, which one worker runs in its order."""

UNIT_PER_TEST = (
    "tests/mail_ingest/sync/test_durability_live.py",
    "tests/matcher/test_law.py",
    "tests/matcher/test_replicas.py",
    "tests/matcher/test_service.py",
    "tests/shared/test_delivery.py",
    "tests/shared/test_rebalance.py",
    "tests/tracking/*_live.py",
)
"""Modules whose tests take seconds each and share nothing but the stack that every worker has."""

LONGEST = (
    "tests/page/*",
    "tests/end_to_end/*",
    "tests/scenarios/chaos/whole/test_whole_run.py",
    "tests/scenarios/chaos/test_capture_run.py",
    "tests/deploy/*",
    "tests/mail_ingest/sync/*",
    "tests/mail_ingest/administration/*",
    "tests/shared/test_outage.py",
    *UNIT_PER_TEST,
)
"""Modules with long units, longest first: one that started last would keep all other workers waiting."""


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist brings no types
    """Gives each worker one unit after another: a single test, a module, or several modules.

    The tests of one unit run in their order on one worker, with the Kafka and the MongoDB of that worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the unit of a test."""
        module = nodeid.partition("::")[0]
        if _matching(module, UNIT_PER_TEST) is not None:
            return nodeid
        together = _matching(module, ONE_UNIT)
        return module if together is None else ONE_UNIT[together]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Assign the unit that probably takes longest of those that are left."""
        longest = min(self.workqueue, key=_rank)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _matching(module: str, patterns: tuple[str, ...]) -> int | None:
    return next((number for number, pattern in enumerate(patterns) if fnmatch(module, pattern)), None)


def _rank(unit: str) -> int:
    rank = _matching(unit.partition("::")[0], LONGEST)
    return len(LONGEST) if rank is None else rank
