"""The settings of tracking; environment variables of the same name in capitals."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from shared.records import Reader
from shared.settings import MongoSettings, ServiceSettings

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
TenantId = Annotated[str, StringConstraints(pattern=r"^[^/\s]+$")]


class TrackingSettings(ServiceSettings, MongoSettings):
    """What tracking has beside every service's settings."""

    port: int = Field(
        18083, ge=0, le=65535, description="Where its HTTP interface listens; 0: any free port."
    )
    mongodb_database: str = Field(
        "tracking",
        pattern=r"^[a-zA-Z0-9_-]{1,60}$",
        description="Its own database; no other service reads it.",
    )
    authority_url: Url = Field("https://login.microsoftonline.com", description="Whose tokens are taken.")
    browser_authority_url: Url | None = Field(
        None, description="Where browsers reach the authority; absent: at AUTHORITY_URL."
    )
    ca_file: Path | None = Field(
        None, description="PEM of the CA that signed the authority's certificate; default: the system's."
    )
    audience: str = Field(
        "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02",
        min_length=1,
        description="Client id of our API: the `aud` of its tokens.",
    )
    tenants: frozenset[TenantId] = Field(
        frozenset(),
        description='Ids of the onboarded tenants, as a JSON list: `["1f5c…"]`. Tokens of any other are refused.',
    )
    ingest_url: Url = Field(
        "http://127.0.0.1:18081", description="mail-ingest's internal port, for previews."
    )
    service_token: SecretStr = Field(
        SecretStr(""), description="Credential of mail-ingest's internal port; empty: no previews."
    )
    default_readers: dict[str, tuple[Reader, ...]] = Field(
        {"*": ("*",)},
        description='Readers of a record that names none, by tenant, `*` for all others: `{"*":["*"]}`.',
    )
    tracked_subjects: bool = Field(
        True, description="Whether events on tracked-activities carry the subject."
    )
    pending_for: timedelta = Field(
        timedelta(minutes=10),
        gt=timedelta(0),
        le=timedelta(days=1),
        description="A pending Track fails after this.",
    )

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if "*" not in self.default_readers:
            raise ValueError("default_readers: an entry for `*` is missing")
        return self
