"""docker-compose.yml as Compose itself reads it; no Docker daemon is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from services.mail_ingest.settings import IngestSettings
from services.matcher.settings import MatcherSettings
from services.tracking.settings import TrackingSettings
from shared.settings import EnvironmentSettings, KafkaSettings

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).parent / "docker-compose"
TRIAL = ROOT / "deploy/simulator.env"

SETTINGS: dict[str, type[EnvironmentSettings]] = {
    "topics": KafkaSettings,
    "mail-ingest": IngestSettings,
    "matcher": MatcherSettings,
    "tracking": TrackingSettings,
}
FOREIGN = {"kafka", "mongodb"}
OWN = {
    "MAIL_INGEST_WEBHOOK_URL": "https://capture.example.com",
    "MAIL_INGEST_CLIENT_ID": "one",
    "MAIL_INGEST_CLIENT_SECRET": "two",
    "TRACKING_AUDIENCE": "three",
    "TRACKING_TENANTS": '["four"]',
    "SERVICE_TOKEN": "sixteen characters and more",
}
"""The required settings for a tenant of Microsoft 365."""

Config = dict[str, Any]


def compose(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker-compose config` with these variables only."""
    return subprocess.run(
        [
            COMPOSE,
            "--project-directory",
            ROOT,
            "--file",
            ROOT / "docker-compose.yml",
            *arguments,
            "config",
            "--format=json",
        ],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


def read_services(env: dict[str, str], *arguments: str) -> dict[str, Config]:
    """Return the services that Compose reads, by name."""
    ran = compose(env, *arguments)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout)["services"])


def environment_of(service: Config) -> dict[str, str]:
    """Return the environment variables of a container."""
    return {name: value for name, value in service["environment"].items() if value is not None}
