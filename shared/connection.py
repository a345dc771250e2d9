"""Connections to Kafka, and which of its errors a retry resolves."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoBrokersAvailable,
    ProducerClosed,
)
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from .aiokafka_patches import patch_aiokafka
from .clock import to_milliseconds
from .errors import RetryableError
from .settings import KafkaSettings

SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


REQUEST_TIMEOUT = timedelta(seconds=10)
"""A broker that hangs is given up after this time; aiokafka's default of 40 s stalls all that need it."""
METADATA_MAX_AGE = timedelta(seconds=10)
"""A leader that was replaced, but answers, is left after this time; aiokafka's default is 5 min."""


def time_options() -> dict[str, Any]:
    """The time-outs of every aiokafka client."""
    return {
        "request_timeout_ms": to_milliseconds(REQUEST_TIMEOUT),
        "metadata_max_age_ms": to_milliseconds(METADATA_MAX_AGE),
    }


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Address and security options of every aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": _ssl(settings),
        **time_options(),
    }
    if credentials := _credentials(settings):
        user, password = credentials
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }
    return options


def broker_security(settings: KafkaSettings) -> BaseSecurity:
    """The security options of FastStream's broker."""
    context = _ssl(settings)
    if credentials := _credentials(settings):
        return SASL[settings.kafka_sasl_mechanism](
            *credentials, ssl_context=context, use_ssl=context is not None
        )
    return BaseSecurity(ssl_context=context, use_ssl=context is not None)


def bootstrap_servers(settings: KafkaSettings) -> list[str]:
    """The addresses of KAFKA_BOOTSTRAP_SERVERS as a list."""
    return [server.strip() for server in settings.kafka_bootstrap_servers.split(",")]


@contextlib.asynccontextmanager
async def admin_client(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; raises RetryableError when Kafka does not answer, now or later."""
    patch_aiokafka()
    admin = AIOKafkaAdminClient(**client_options(settings))
    with kafka_errors(settings):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


@contextlib.contextmanager
def kafka_errors(settings: KafkaSettings) -> Iterator[None]:
    """Raises RetryableError for the Kafka errors that a retry resolves; others pass unchanged."""
    try:
        yield
    except KafkaError as error:
        if is_retryable(error):
            where = f"{settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)"
            raise RetryableError(f"Kafka does not answer at {where}: {type(error).__name__}") from error
        raise


def is_retryable(error: KafkaError) -> bool:
    """True when the same call succeeds later without a change."""
    return error.retriable or isinstance(
        error, KafkaConnectionError | KafkaTimeoutError | NoBrokersAvailable | ProducerClosed
    )


def _ssl(settings: KafkaSettings) -> ssl.SSLContext | None:
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    return context


def _credentials(settings: KafkaSettings) -> tuple[str, str] | None:
    if (
        settings.kafka_security_protocol.startswith("SASL")
        and settings.kafka_sasl_username
        and settings.kafka_sasl_password
    ):
        return settings.kafka_sasl_username, settings.kafka_sasl_password.get_secret_value()
    return None
