"""What mail-ingest can be told; names in capitals are the environment's."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, SecretStr, model_validator

from shared.settings import MongoSettings, ServiceSettings


class IngestSettings(ServiceSettings, MongoSettings):
    """The settings of mail-ingest."""

    port: int = Field(
        18081,
        ge=0,
        le=65535,
        description="Internal port: health, metrics, status, previews, mailbox administration.",
    )
    mongodb_database: str = Field(
        "mail_ingest", pattern=r"^[a-zA-Z0-9_-]{1,60}$", description="Its own database; nobody else reads it."
    )

    webhook_host: str = Field("127.0.0.1", description="The address that the public port listens on.")
    webhook_port: int = Field(
        18080, ge=0, le=65535, description="Public port: Graph's notifications and nothing else."
    )
    webhook_url: HttpUrl = Field(
        HttpUrl("http://127.0.0.1:18080"),
        description="Where Graph reaches the public port; Graph itself takes https only.",
    )

    graph_url: HttpUrl = Field(HttpUrl("https://graph.microsoft.com/v1.0"), description="Microsoft Graph.")
    graph_scope: str = Field(
        "https://graph.microsoft.com/.default",
        description="What a token for Graph is asked for; national clouds have their own.",
    )
    authority_url: HttpUrl = Field(
        HttpUrl("https://login.microsoftonline.com"), description="The sign-in authority, before the tenant."
    )
    ca_file: Path | None = Field(
        None, description="PEM of the CA that both are trusted by; default: the system's."
    )
    client_id: str = Field(
        "00000000-0000-0000-0000-000000000000",
        min_length=1,
        description="The application's id at the authority.",
    )
    client_secret: SecretStr | None = Field(None, description="Its secret; or CLIENT_CERTIFICATE.")
    client_certificate: Path | None = Field(
        None, description="PEM that holds its private key and its certificate."
    )

    service_token: SecretStr = Field(
        SecretStr(""),
        description="Credential of the internal port's callers, at least 16 characters; without one nobody is let in.",
    )

    reconcile: bool = Field(True, description="Read each mailbox's window, so that what hints miss is found.")
    reconcile_every: timedelta = Field(
        timedelta(minutes=10), gt=timedelta(), description="How often, per mailbox, with jitter."
    )
    workers: int = Field(8, ge=1, le=256, description="Mailboxes worked on at once by one replica.")
    lease: timedelta = Field(
        timedelta(seconds=60),
        ge=timedelta(seconds=1),
        description="A mailbox whose holder is silent for this long is taken by another.",
    )
    retry_blocked: timedelta = Field(
        timedelta(minutes=1),
        gt=timedelta(),
        description="When a blocked mailbox is first tried again; doubles up to half an hour.",
    )

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.client_secret and self.client_certificate:
            raise ValueError("client_secret: give a secret or a certificate (CLIENT_CERTIFICATE), not both")
        if 0 < len(self.service_token.get_secret_value()) < 16:
            raise ValueError("service_token: at least 16 characters")
        return self
