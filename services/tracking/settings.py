"""The settings of tracking: environment variables, its own ones with the prefix TRACKING_."""

from datetime import timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from shared.records import Readers
from shared.settings import AuthoritySettings, MongoSettings, ServiceSettings, ServiceTokenSettings, Url

TenantId = Annotated[str, StringConstraints(pattern=r"^[^/\s]+$")]


class TrackingSettings(ServiceSettings, MongoSettings, AuthoritySettings, ServiceTokenSettings):
    """The settings of tracking."""

    own_prefix: ClassVar[str] = "TRACKING_"

    port: int = Field(
        default=18083, ge=0, le=65535, description="Port of the HTTP interface; 0: any free port."
    )
    mongodb_database: str = Field(
        default="tracking",
        pattern=r"^[a-zA-Z0-9_-]{1,60}$",
        description="The service's own database; no other service reads it.",
    )
    browser_authority_url: Url | None = Field(
        default=None,
        description="The sign-in authority's address for browsers; absent: AUTHORITY_URL.",
    )
    audience: str = Field(
        default="5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02",
        min_length=1,
        description="Client id of the timeline API: the `aud` of its tokens.",
    )
    tenants: frozenset[TenantId] = Field(
        default=frozenset(),
        description=(
            'Ids of the onboarded tenants, as a JSON list: `["1f5c…"]`. Tokens of other tenants are refused.'
        ),
    )
    mail_ingest_url: Url = Field(
        default="http://127.0.0.1:18081", description="mail-ingest's internal port, for previews."
    )
    default_readers: dict[str, Readers] = Field(
        default={"*": ("*",)},
        description=(
            'Readers of records that name none, by tenant; `*` for all other tenants: `{"*":["*"]}`.'
        ),
    )
    publish_subjects: bool = Field(
        default=True, description="Events on tracked-activities carry the subject."
    )
    pending_timeout: timedelta = Field(
        default=timedelta(minutes=10),
        gt=timedelta(0),
        le=timedelta(days=1),
        description="A pending Track fails after this time.",
    )

    @model_validator(mode="after")
    def _has_default_readers(self) -> Self:
        if "*" not in self.default_readers:
            raise ValueError("default_readers: an entry for `*` is missing")
        return self
