"""The settings of mail-ingest; its own ones have the prefix `MAIL_INGEST_`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, model_validator

from shared.settings import AuthoritySettings, MongoSettings, ServiceSettings, ServiceTokenSettings


def parse_listen_address(text: str) -> tuple[str, int]:
    """The host and the port of `host:port`; an IPv6 address is in brackets. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and host and port.isdigit() and int(port) <= 65535):
        raise ValueError("not host:port")
    return host, int(port)


def _checked_listen_address(text: str) -> str:
    parse_listen_address(text)
    return text


ListenAddress: TypeAlias = Annotated[str, AfterValidator(_checked_listen_address)]


class IngestSettings(ServiceSettings, MongoSettings, AuthoritySettings, ServiceTokenSettings):
    """The settings of mail-ingest."""

    own_prefix: ClassVar[str] = "MAIL_INGEST_"

    port: int = Field(
        default=18081,
        ge=0,
        le=65535,
        description="Internal port: health, metrics, status, previews, mailbox administration.",
    )
    mongodb_database: str = Field(
        default="mail_ingest",
        pattern=r"^[a-zA-Z0-9_-]{1,60}$",
        description="The service's own database; no other service reads it.",
    )

    webhook_listen: ListenAddress = Field(
        default="127.0.0.1:18080",
        description="host:port of the public interface: Graph's notifications and nothing else.",
    )
    webhook_url: HttpUrl = Field(
        default=HttpUrl("http://127.0.0.1:18080"),
        description="Where Graph reaches the public interface; Graph itself accepts https only.",
    )

    environment: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="A name, such as production or test, by which the subscriptions of this environment "
        "differ from those of others with the same MAIL_INGEST_CLIENT_ID; by default host, port and path of "
        "MAIL_INGEST_WEBHOOK_URL.",
    )

    graph_url: HttpUrl = Field(
        default=HttpUrl("https://graph.microsoft.com/v1.0"), description="Microsoft Graph."
    )
    graph_scope: str = Field(
        default="https://graph.microsoft.com/.default",
        description="Scope of the tokens for Graph; national clouds have their own.",
    )
    client_id: str = Field(
        default="00000000-0000-0000-0000-000000000000",
        min_length=1,
        description="The application's id at the authority.",
    )
    client_secret: SecretStr | None = Field(
        default=None, description="The application's secret; or MAIL_INGEST_CLIENT_CERTIFICATE."
    )
    client_certificate: Path | None = Field(
        default=None, description="PEM that holds the application's private key and certificate."
    )

    reconcile: bool = Field(
        default=True,
        description="Read each mailbox's window, so that what notifications miss is found. Off: a window is "
        "read only after more than 5,000 notified items have waited.",
    )
    reconcile_every: timedelta = Field(
        default=timedelta(minutes=10),
        gt=timedelta(),
        description="Interval of these readings for each mailbox, with jitter.",
    )
    workers: int = Field(
        default=8, ge=1, le=256, description="Mailboxes that one replica works on at the same time."
    )
    routine_rate: float = Field(
        default=20,
        gt=0,
        le=1000,
        description="Mailboxes per second that one replica begins to read, renew or resend at most; notified "
        "items come before them.",
    )
    lease: timedelta = Field(
        default=timedelta(seconds=12),
        ge=timedelta(seconds=1),
        description="Without a renewal for this time, another worker takes over the mailbox.",
    )
    retry_blocked: timedelta = Field(
        default=timedelta(minutes=1),
        gt=timedelta(),
        description="When a blocked mailbox is first retried; the wait doubles up to half an hour.",
    )

    @property
    def webhook_address(self) -> tuple[str, int]:
        """Host and port of the public interface."""
        return parse_listen_address(self.webhook_listen)

    @property
    def environment_name(self) -> str:
        """The name of this environment in its subscriptions."""
        return self.environment or str(self.webhook_url).partition("://")[2].rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.client_secret and self.client_certificate:
            raise ValueError("client_secret: set a secret or MAIL_INGEST_CLIENT_CERTIFICATE, not both")
        return self
