"""The metrics that the documents name exist, and the names follow Prometheus' conventions."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import services.mail_ingest.metrics
import services.matcher.metrics
import services.tracking.metrics
import shared.http_limits
import shared.telemetry

ROOT = Path(__file__).parents[2]
MODULES = (
    services.mail_ingest.metrics,
    services.matcher.metrics,
    services.tracking.metrics,
    shared.http_limits,
    shared.telemetry,
)
GUIDES = ("docs/scaling.md", "docs/publishing-records.md", "docs/matching.md")
PROCESS_METRICS = {"process_resident_memory_bytes"}


def registered() -> set[str]:
    names: set[str] = set()
    for metric in REGISTRY.collect():
        names |= {metric.name, f"{metric.name}_total"}
    return names


def named_in(guide: str) -> set[str]:
    rows = re.findall(r"^\| (`[a-z_]+`.*?) \|", (ROOT / guide).read_text(), re.MULTILINE)
    in_tables = {name for row in rows for name in re.findall(r"`([a-z_]+_[a-z_]+)`", row)}
    in_text = set(re.findall(r"`([a-z_]+_total|record_[a-z_]+)`", (ROOT / guide).read_text()))
    return in_text | (in_tables if guide == "docs/scaling.md" else set())


@pytest.mark.parametrize("guide", GUIDES)
def test_every_metric_that_a_guide_names_exists(guide: str) -> None:
    assert named_in(guide) - registered() - PROCESS_METRICS == set()


def test_the_guide_of_operators_names_metrics_of_every_service() -> None:
    named = named_in("docs/scaling.md")
    for module in MODULES:
        own = {each._name for each in vars(module).values() if hasattr(each, "_name")}
        assert {name.removesuffix("_total") for name in named} & own, module.__name__
