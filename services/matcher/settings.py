"""The settings of the matcher."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class MatcherSettings(ServiceSettings):
    """The settings of the matcher, besides those of every service."""

    own_prefix: ClassVar[str] = "MATCHER_"

    port: int = Field(
        default=18082, ge=0, le=65535, description="Port of the HTTP interface; 0: any free port."
    )
    rules_file: Path | None = Field(
        default=None,
        description="TOML file that adds rules for custom types and switches rules off; docs/matching.md.",
    )
    record_quiet_period: timedelta = Field(
        default=timedelta(milliseconds=50),
        ge=timedelta(0),
        description="Record changes that come within this time of each other are computed together.",
    )
    record_max_delay: timedelta = Field(
        default=timedelta(seconds=1),
        ge=timedelta(0),
        description="A record change waits for other changes at most this long.",
    )
    foreign_write_check_every: timedelta = Field(
        default=timedelta(minutes=1),
        gt=timedelta(0),
        description="Interval of the search for foreign writes in this replica's partitions of `matches`.",
    )
    restore: bool = Field(
        default=True,
        description="false starts at the group's commit without reading the tables; only for tests that "
        "count deliveries.",
    )
