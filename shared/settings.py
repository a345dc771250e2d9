"""The settings that every service runs under; each service's own class adds to these.

They come from environment variables of the same name in capitals. A bad one stops the start with
the setting's name and what is wrong with it, never with its value.
"""

import re
import sys
from datetime import timedelta
from typing import Annotated, Literal, NoReturn, Self, TypeAlias, TypeVar

from pydantic import Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from .topics import RECORDS, TOPICS

TopicName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,140}$")]


class KafkaSettings(BaseSettings):
    """How to reach Kafka, and what its topics are called."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_ignore_empty=True)

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
        description="Replicas of each topic. Fewer than 3 are refused, unless 1 says that this is a single broker.",
    )
    kafka_partitions: int = Field(
        default=64, ge=1, le=4096, description="Partitions of each topic, fixed at creation."
    )
    kafka_session_timeout: timedelta = Field(
        default=timedelta(seconds=10), description="A consumer silent for this long is dead to its group."
    )
    topic_prefix: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="Before every topic's and group's name, so that several systems can share a cluster.",
    )
    records_topics: dict[TopicName, Annotated[list[str], Field(min_length=1)]] = Field(
        default={"records": ["*"]},
        min_length=1,
        description='Topics of record events and the tenants that may appear in each: `{"records":["*"]}`.',
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kafka_replication == 2:
            raise ValueError(
                "kafka_replication: 2 replicas cannot lose one and go on; use 3, or 1 for a single broker"
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
    """What every service has."""

    port: int = Field(
        default=0, ge=0, le=65535, description="Where its HTTP interface listens; 0: any free port."
    )
    host: str = Field(default="127.0.0.1", description="The address it listens on.")
    instance: str | None = Field(
        default=None,
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="This replica's own stable name, for static group membership; absent: dynamic membership.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="What is logged."
    )


class MongoSettings(BaseSettings):
    """How to reach MongoDB; for the services that have a store."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_ignore_empty=True)

    mongodb_uri: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27117/?replicaSet=rs0"),
        description="A replica set; writes are acknowledged by its majority.",
    )


S = TypeVar("S", bound=BaseSettings)


def load(model: type[S]) -> S:
    """The settings from the environment; exits with status 2 and the settings' names where they are bad."""
    try:
        return model()
    except SettingsError as unreadable:  # its text names the field; the JSON stands in its cause alone
        named = re.search(r'field "(\w+)"', str(unreadable))
        refuse(named[1].upper() if named else "", "not the JSON that it should be")
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False, include_input=False):
            name = "_".join(str(part) for part in error["loc"][:1]).upper()
            message = error["msg"].removeprefix("Value error, ")
            if not name:
                name, _, message = message.partition(": ")
            refuse(name.upper(), message)
        raise


def refuse(setting: str, why: str) -> NoReturn:
    """Ends the process because of a setting."""
    print(f"bad setting {setting}: {why}", file=sys.stderr)
    raise SystemExit(2)
