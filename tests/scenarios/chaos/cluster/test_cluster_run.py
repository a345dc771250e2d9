"""The run of faults of the servers itself, of full size."""

from pathlib import Path

import pytest

from deploy.local.cluster import Cluster
from scenarios.chaos.cluster.run import SIZES, Size, run_cluster
from tests.support import forks

SEED = 7


@pytest.mark.full("cluster-chaos")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.faults)
async def test_everything_works_again_and_nothing_is_wrong(
    cluster: Cluster, own_prefix: str, tmp_path: Path, size: Size
) -> None:
    report = await run_cluster(cluster, tmp_path, SEED, size, prefix=own_prefix, modules=forks)
    assert report.is_right, "\n".join(report.lines())
