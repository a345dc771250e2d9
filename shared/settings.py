"""The settings that services share; each service's own class adds to these.

Settings are environment variables. A shared one has its field's name in capitals, a service's own one
has the service's prefix too. Each secret can also be read from the file that NAME_FILE names. A bad or
misspelt setting stops the start: the message holds its name and the fault, never its value.
"""

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeAlias, TypeVar, get_args

from pydantic import Field, FilePath, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .topics import RECORDS, TOPICS

TopicName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,140}$")]
Url: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]

FILE_SUFFIX = "_FILE"
"""NAME_FILE names a file that holds the secret NAME."""
KUBERNETES_VARIABLE = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$"
)
"""Variables that Kubernetes sets for each Service of the namespace, whatever the Service is called."""
SIMILARITY = 0.85
"""A variable at least this similar to a setting (difflib's ratio) counts as a misspelt one."""
OWN_SIMILARITY = 0.6
"""The same for the suggestion of a variable with the service's own prefix, which is unknown anyway."""
MIN_SERVICE_TOKEN = 16
SERVICE_PREFIXES = ("MAIL_INGEST_", "MATCHER_", "TRACKING_", "SIMULATOR_")
"""A service ignores the settings of the others, so that all can share one file of settings."""


class EnvironmentSettings(BaseSettings):
    """Settings that are read from environment variables.

    Attributes:
        own_prefix: prefix of the variables of the fields that a service's own class declares.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True)
    own_prefix: ClassVar[str] = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's own sources are not used
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replaces pydantic's sources by the environment alone."""
        return init_settings, _Environment(settings_cls)


def variable_name(model: type[BaseSettings], field_name: str) -> str:
    """The environment variable of a field."""
    declaring = [base for base in model.__mro__ if field_name in getattr(base, "model_fields", {})][-1]
    prefix = "" if declaring.__module__ == __name__ else getattr(model, "own_prefix", "")
    return prefix + field_name.upper()


def is_secret(field: FieldInfo) -> bool:
    """True for a field whose value can be read from a file."""
    return SecretStr in {field.annotation, *get_args(field.annotation)}


class _Environment(PydanticBaseSettingsSource):
    """Reads each field from its variable; an empty variable counts as absent."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = variable_name(self.settings_cls, field_name)
        text = os.environ.get(name)
        file = os.environ.get(name + FILE_SUFFIX) if is_secret(field) else None
        if text and file:
            raise BadSettingError(name, f"set either {name} or {name}{FILE_SUFFIX}, not both")
        if file:
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                reason = f"the file cannot be read: {type(error).__name__}"
                raise BadSettingError(name + FILE_SUFFIX, reason) from None
        return text or None, field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            text, _, is_json = self.get_field_value(field, field_name)
            if text is not None:
                values[field_name] = self._decode(field_name, text) if is_json else text
        return values

    def _decode(self, field_name: str, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise BadSettingError(variable_name(self.settings_cls, field_name), "not valid JSON") from None


class BadSettingError(Exception):
    """A setting cannot be used; an operator must mend it.

    Attributes:
        setting: the variable's name.
        reason: the fault, without the value.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"bad setting {setting}: {reason}")
        self.setting = setting
        self.reason = reason


class KafkaSettings(EnvironmentSettings):
    """Address and security of Kafka, and the names of its topics."""

    kafka_bootstrap_servers: str = Field(
        default="127.0.0.1:19092", description="host:port, several separated by commas."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How connections are secured."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="With SASL_*."
    )
    kafka_sasl_username: str | None = Field(default=None, description="With SASL_*.")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="With SASL_*.")
    kafka_ssl_cafile: FilePath | None = Field(
        default=None,
        description="PEM of the CA that signed the brokers' certificates; default: the system's.",
    )
    kafka_ssl_certfile: FilePath | None = Field(
        default=None, description="PEM of our own certificate, for mutual TLS."
    )
    kafka_ssl_keyfile: FilePath | None = Field(default=None, description="PEM of its key.")
    kafka_replication: int = Field(
        default=3,
        ge=1,
        le=9,
        description="Replicas of each topic. Fewer than 3 are refused, except 1 for a single broker.",
    )
    kafka_partitions: int = Field(
        default=64, ge=1, le=4096, description="Partitions of each topic, fixed at creation."
    )
    kafka_session_timeout: timedelta = Field(
        default=timedelta(seconds=10),
        description="The group removes a consumer that sends no heartbeat for this time.",
    )
    topic_prefix: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="Prefix of all topic and group names, so that several systems can share a cluster.",
    )
    records_topics: dict[TopicName, Annotated[list[str], Field(min_length=1)]] = Field(
        default={"records": ["*"]},
        min_length=1,
        description='Topics of record events and the tenants that may appear in each: `{"records":["*"]}`.',
    )

    @model_validator(mode="after")
    def _check_kafka(self) -> Self:
        if self.kafka_replication == 2:
            raise ValueError(
                "kafka_replication: with 2 replicas the loss of one stops writes; use 3, or 1 (single broker)"
            )
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError("kafka_sasl_username: SASL needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        if (self.kafka_ssl_certfile is None) != (self.kafka_ssl_keyfile is None):
            raise ValueError("kafka_ssl_certfile: a certificate needs its key, and a key its certificate")
        ours = {name for topic in TOPICS for name in (topic.name, topic.dead_letters)} - {RECORDS.name}
        if taken := ours & self.records_topics.keys():
            raise ValueError(f"records_topics: upstream systems do not write {', '.join(sorted(taken))}")
        return self


class ServiceSettings(KafkaSettings):
    """The settings of every service."""

    port: int = Field(default=0, ge=0, le=65535, description="Port of the HTTP interface; 0: any free port.")
    host: str = Field(default="127.0.0.1", description="Address of the HTTP interface.")
    max_connections: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        description="Open connections of each HTTP interface; an open page holds one or two.",
    )
    request_timeout: timedelta = Field(
        default=timedelta(seconds=10),
        gt=timedelta(),
        le=timedelta(minutes=5),
        description="The headers of a request, and then its body, must have come within this time.",
    )
    instance: str | None = Field(
        default=None,
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Stable name of this replica, for static group membership; absent: dynamic.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The lowest level that is logged."
    )


class MongoSettings(EnvironmentSettings):
    """Address of MongoDB, for the services that have a store."""

    mongodb_uri: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27117/?replicaSet=rs0"),
        description="A replica set; its majority acknowledges writes.",
    )


class AuthoritySettings(EnvironmentSettings):
    """The sign-in authority, for the services that request or check tokens."""

    authority_url: Url = Field(
        default="https://login.microsoftonline.com",
        description="The sign-in authority, without the tenant.",
    )
    authority_ca_file: Path | None = Field(
        default=None,
        description="PEM of the CA that the authority and Graph are trusted by; default: the system's.",
    )


class ServiceTokenSettings(EnvironmentSettings):
    """The credential of mail-ingest's internal port, for that service and its caller."""

    service_token: SecretStr = Field(
        default=SecretStr(""),
        description="Credential of mail-ingest's internal port, at least 16 characters; empty: no access.",
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if 0 < len(self.service_token.get_secret_value()) < MIN_SERVICE_TOKEN:
            raise ValueError(f"service_token: at least {MIN_SERVICE_TOKEN} characters")
        return self


S = TypeVar("S", bound=BaseSettings)


def load_settings(model: type[S]) -> S:
    """Reads the settings from the environment; exits with status 2 and the setting's name when one is bad."""
    try:
        _check_spelling(model, os.environ)
        return model()
    except BadSettingError as error:
        exit_for_bad_setting(error.setting, error.reason)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        field_name = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        if not field_name:  # a check of the whole model: its message begins with the field
            field_name, _, message = message.partition(": ")
        known = field_name in model.model_fields
        exit_for_bad_setting(variable_name(model, field_name) if known else field_name.upper(), message)


def _check_spelling(model: type[BaseSettings], variables: Iterable[str]) -> None:
    """Raises BadSettingError for a variable that is probably a misspelt setting.

    Each unknown variable with the service's own prefix is one; any other only when it is similar to a
    setting. Variables that Kubernetes sets by itself are ignored.
    """
    own_prefix = getattr(model, "own_prefix", "")
    known: set[str] = set()
    for field_name, field in model.model_fields.items():
        known.add(variable_name(model, field_name))
        if is_secret(field):
            known.add(variable_name(model, field_name) + FILE_SUFFIX)
    for variable in sorted(variables):
        own = bool(own_prefix) and variable.startswith(own_prefix)
        foreign = variable.startswith(SERVICE_PREFIXES) and not own
        if variable in known or foreign or KUBERNETES_VARIABLE.search(variable):
            continue
        if suggestion := _closest(variable, known, own_prefix if own else ""):
            raise BadSettingError(variable, f"there is no such setting, did you mean {suggestion}?")
        if own:
            raise BadSettingError(variable, "there is no such setting")


def _closest(variable: str, known: Iterable[str], prefix: str) -> str | None:
    """The most similar setting; of those with the prefix, compared without it, also a less similar one."""
    names = {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}
    cutoff = OWN_SIMILARITY if prefix else SIMILARITY
    found = difflib.get_close_matches(variable.removeprefix(prefix), sorted(names), 1, cutoff)
    return names[found[0]] if found else None


def exit_for_bad_setting(setting: str, reason: str) -> NoReturn:
    """Prints the setting and its fault, and ends the process with status 2."""
    print(f"bad setting {setting}: {reason}", file=sys.stderr)
    raise SystemExit(2)
