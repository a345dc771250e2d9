"""A bad setting stops the start with its name and what is wrong with it, never with its value."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.connection import broker_security, client_options
from shared.settings import KafkaSettings, MongoSettings, ServiceSettings, load

SECRET = "hunter2"
CREDENTIALS = {"KAFKA_SASL_USERNAME": "matcher", "KAFKA_SASL_PASSWORD": SECRET}


class Whole(ServiceSettings, MongoSettings):
    """As a service with a store has it."""


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Whole.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_run_locally() -> None:
    settings = load(Whole)
    assert settings.kafka_bootstrap_servers == "127.0.0.1:19092"
    assert settings.records_topics == {"records": ["*"]}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KAFKA_SESSION_TIMEOUT": "PT6S",
        "RECORDS_TOPICS": '{"crm-a": ["contoso"], "crm-b": ["fabrikam", "wingtip"]}',
        "PORT": "18082",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(Whole)
    assert settings.kafka_session_timeout == timedelta(seconds=6)
    assert settings.records_topics == {"crm-a": ["contoso"], "crm-b": ["fabrikam", "wingtip"]}
    assert settings.port == 18082


def test_every_setting_is_described() -> None:
    assert [name for name, field in Whole.model_fields.items() if not field.description] == []


def test_a_misspelt_setting_in_code_is_refused() -> None:
    with pytest.raises(ValidationError):
        KafkaSettings(kafka_bootstrap="localhost")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "environment, named",
    [
        ({"KAFKA_REPLICATION": "2"}, "KAFKA_REPLICATION"),
        ({"KAFKA_REPLICATION": f"three{SECRET}"}, "KAFKA_REPLICATION"),
        ({"KAFKA_PARTITIONS": "0"}, "KAFKA_PARTITIONS"),
        ({"KAFKA_SECURITY_PROTOCOL": SECRET}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_PASSWORD": SECRET}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_SSL_CAFILE": f"/nowhere/{SECRET}"}, "KAFKA_SSL_CAFILE"),
        ({"KAFKA_SSL_CERTFILE": __file__}, "KAFKA_SSL_CERTFILE"),
        ({"KAFKA_SSL_KEYFILE": __file__}, "KAFKA_SSL_CERTFILE"),
        ({"RECORDS_TOPICS": f'{{"{SECRET}'}, "RECORDS_TOPICS"),
        ({"RECORDS_TOPICS": "{}"}, "RECORDS_TOPICS"),
        ({"RECORDS_TOPICS": '{"crm": []}'}, "RECORDS_TOPICS"),
        ({"RECORDS_TOPICS": f'{{"{SECRET} {SECRET}": ["*"]}}'}, "RECORDS_TOPICS"),
        ({"RECORDS_TOPICS": '{"matches": ["*"]}'}, "RECORDS_TOPICS"),
        ({"TOPIC_PREFIX": f"{SECRET} "}, "TOPIC_PREFIX"),
        ({"INSTANCE": f"{SECRET}/0"}, "INSTANCE"),
        ({"PORT": "70000"}, "PORT"),
        ({"LOG_LEVEL": SECRET}, "LOG_LEVEL"),
    ],
)
def test_a_bad_setting_is_named_and_its_value_is_not_shown(
    environment: dict[str, str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_:
        load(Whole)
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.startswith(f"bad setting {named}: ")
    assert said.count("\n") == 1
    assert SECRET not in said


def test_secrets_are_not_printed() -> None:
    settings = KafkaSettings(
        kafka_security_protocol="SASL_SSL", kafka_sasl_username="matcher", kafka_sasl_password=SECRET
    )  # type: ignore[arg-type]
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


# -- how connections are secured ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_tls_and_sasl_are_on_where_the_protocol_says_so(
    protocol: str, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        **CREDENTIALS,
        "KAFKA_SECURITY_PROTOCOL": protocol,
        "KAFKA_SASL_MECHANISM": mechanism,
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(Whole)
    options, security = client_options(settings), broker_security(settings)
    assert options["security_protocol"] == protocol
    assert (options["ssl_context"] is not None) == security.use_ssl == protocol.endswith("SSL")
    assert options.get("sasl_mechanism") == (mechanism if protocol.startswith("SASL") else None)
    assert getattr(security, "password", None) == (SECRET if protocol.startswith("SASL") else None)


def test_tls_verifies_the_broker_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    context = client_options(load(Whole))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
