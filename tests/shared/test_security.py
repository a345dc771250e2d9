"""All clients work over TLS and SASL/SCRAM; none works with wrong credentials."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from deploy.local.processes import print_progress
from deploy.local.servers import Kafka
from shared import provision
from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.messages import OutgoingMessage
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .examples import EMAIL
from .kafka_world import Sink, eventually, member, until_no_lag

PASSWORD = "a-password-of-the-broker-itself"
SECURED = """
listeners=SASL_SSL://{address},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://{address}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
"""


class SecuredKafka(Kafka):
    """A broker that accepts only TLS with SCRAM."""

    format_options = ("--add-scram", f"SCRAM-SHA-512=[name=admin,password={PASSWORD}]")

    def _settings(self) -> str:
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (self._folder / "keystore.pem").write_bytes(
            key + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        ca.cert_pem.write_to_path(self._folder / "ca.pem")
        # The last of two lines for one property counts.
        return super()._settings() + SECURED.format(
            folder=self._folder, address=self.address, password=PASSWORD, **self.ports
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """The settings of a client of the secured broker."""
    folder = tmp_path_factory.mktemp("secured")
    broker = SecuredKafka(folder, tied=True, progress=print_progress)
    try:
        broker.start()
        yield KafkaSettings(
            kafka_bootstrap_servers=broker.address,
            kafka_replication=1,
            kafka_partitions=1,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_username="admin",
            kafka_sasl_password=SecretStr(PASSWORD),
            kafka_ssl_cafile=folder / "ca.pem",
        )
    finally:
        broker.kill()


async def test_all_clients_work_over_tls_and_scram(secured: KafkaSettings) -> None:
    await provision.create(secured)
    await provision.check(secured)
    sink = Sink()
    async with member(secured, sink) as consumer:
        activity = EMAIL.model_copy(update={"item": "1"})
        await consumer.cluster.producer.send(OutgoingMessage(ACTIVITIES, activity.key, activity, 1))
        await eventually(lambda: sink.items == ["1"])
        await until_no_lag(consumer)
        assert isinstance(consumer.cluster, KafkaClient)
        chunks = [chunk async for chunk in consumer.cluster.read_table(ACTIVITIES)]
        assert sum(len(chunk.messages) for chunk in chunks) == 1
        assert await consumer.cluster.ping()


@pytest.mark.parametrize("wrong", ["password", "authority", "protocol"])
async def test_wrong_credentials_are_retryable_errors_without_the_secret(
    secured: KafkaSettings, wrong: str, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    change: dict[str, dict[str, Any]] = {
        "password": {"kafka_sasl_password": SecretStr("hunter2")},
        "authority": {"kafka_ssl_cafile": tmp_path / "other.pem"},
        "protocol": {"kafka_security_protocol": "PLAINTEXT"},
    }
    settings = secured.model_copy(update=change[wrong])
    with pytest.raises(RetryableError) as error:
        await provision.check(settings)
    assert "hunter2" not in str(error.value)
    with pytest.raises(RetryableError):
        await KafkaClient(settings, "matcher", system_clock).start()
