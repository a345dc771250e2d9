"""The table of our programs: what `System` starts, on which ports and with which settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

TENANT = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a00"
"""The tenant that exists in a simulator from its start."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of our programs, and the settings that it starts with.

    Attributes:
        ports: setting -> the usual port. The first one answers for health and status.
        env: other settings; `System` replaces the names in braces.
        status: path of the program's counts.
    """

    name: str
    module: str
    ports: Mapping[str, int]
    env: Mapping[str, str] = field(default_factory=dict)
    status: str = "/status"


SIMULATOR = Program(
    "simulator",
    "simulator",
    {"SIMULATOR_LISTEN": 18443, "SIMULATOR_BROWSER_LISTEN": 18444},
    {"SIMULATOR_DIR": "{simulator_dir}", "SIMULATOR_TENANT_ID": "{tenant}"},
    status="/control/counters",
)
MAIL_INGEST = Program(
    "mail-ingest",
    "services.mail_ingest",
    {"PORT": 18081, "MAIL_INGEST_WEBHOOK_LISTEN": 18080},
    {
        "MAIL_INGEST_MONGODB_DATABASE": "{prefix}mail_ingest",
        "MAIL_INGEST_WEBHOOK_URL": "http://127.0.0.1:{webhook_port}",
        "MAIL_INGEST_GRAPH_URL": "{simulator}/v1.0",
        "AUTHORITY_URL": "{simulator}",
        "AUTHORITY_CA_FILE": "{ca}",
        # The registration in the simulator; its secret is of no use anywhere else.
        "MAIL_INGEST_CLIENT_ID": "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a01",
        "MAIL_INGEST_CLIENT_SECRET": "capture-secret-of-the-simulator",
        "SERVICE_TOKEN": "{service_token}",
    },
)
MATCHER = Program("matcher", "services.matcher", {"PORT": 18082})
TRACKING = Program(
    "tracking",
    "services.tracking",
    {"PORT": 18083},
    {
        "TRACKING_MONGODB_DATABASE": "{prefix}tracking",
        "AUTHORITY_URL": "{simulator}",
        "TRACKING_BROWSER_AUTHORITY_URL": "{for_browsers}",  # browsers do not trust the simulator's CA
        "AUTHORITY_CA_FILE": "{ca}",
        "TRACKING_AUDIENCE": "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02",
        "TRACKING_TENANTS": '["{tenant}"]',
        "TRACKING_MAIL_INGEST_URL": "{mail_ingest}",
        "SERVICE_TOKEN": "{service_token}",
    },
)
PROGRAMS = {program.name: program for program in (SIMULATOR, MAIL_INGEST, MATCHER, TRACKING)}
"""In the order of their start."""

# Twelve partitions for each topic are enough for one machine, and quick to create.
SHARED_SETTINGS = {"KAFKA_PARTITIONS": "12", "PYTHONUNBUFFERED": "1"}


def program_of(name: str) -> Program:
    """Return the program of a process with this name; the program of `matcher-2` is `matcher`."""
    return PROGRAMS.get(name) or PROGRAMS[name.rpartition("-")[0]]
