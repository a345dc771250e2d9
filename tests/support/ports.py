"""The ports of one test worker."""

import os
import re

from deploy.local.processes import SPARE_PORTS, SPARE_PORTS_SETTING

PORTS_PER_WORKER = 1000


def own_ports(worker: str) -> None:
    """Give this worker, and all processes that it starts, ports that no other worker of this run takes."""
    number = int(re.findall(r"\d+", worker)[0])
    first = SPARE_PORTS[(number * PORTS_PER_WORKER) % len(SPARE_PORTS)]
    os.environ[SPARE_PORTS_SETTING] = f"{first}-{first + PORTS_PER_WORKER - 1}"
