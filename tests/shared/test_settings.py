"""A bad setting stops the start with its name and its fault, never with its value."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

from shared.connection import broker_security, client_options
from shared.settings import (
    FILE_SUFFIX,
    AuthoritySettings,
    KafkaSettings,
    MongoSettings,
    ServiceSettings,
    ServiceTokenSettings,
    load_settings,
    variable_name,
)

SECRET = "hunter2"
CREDENTIALS = {"KAFKA_SASL_USERNAME": "matcher", "KAFKA_SASL_PASSWORD": SECRET}


class Whole(ServiceSettings, MongoSettings, AuthoritySettings, ServiceTokenSettings):
    """The settings of a service with a store and fields of its own."""

    own_prefix: ClassVar[str] = "MAIL_INGEST_"

    port: int = Field(default=18081, ge=0, le=65535, description="The HTTP interface.")
    workers: int = Field(default=8, ge=1, description="Mailboxes at once.")
    client_secret: SecretStr | None = Field(default=None, description="A secret.")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Whole.model_fields:
        monkeypatch.delenv(variable_name(Whole, name), raising=False)


def test_the_defaults_run_locally() -> None:
    settings = load_settings(Whole)
    assert settings.kafka_bootstrap_servers == "127.0.0.1:19092"
    assert settings.records_topics == {"records": ["*"]}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KAFKA_SESSION_TIMEOUT": "PT6S",
        "RECORDS_TOPICS": '{"crm-a": ["contoso"], "crm-b": ["fabrikam", "wingtip"]}',
        "PORT": "18082",
        "MAIL_INGEST_WORKERS": "3",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(Whole)
    assert settings.kafka_session_timeout == timedelta(seconds=6)
    assert settings.records_topics == {"crm-a": ["contoso"], "crm-b": ["fabrikam", "wingtip"]}
    assert (settings.port, settings.workers) == (18082, 3)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PARTITIONS", "")
    assert load_settings(Whole).kafka_partitions == 64


def test_only_the_fields_of_a_service_have_its_prefix() -> None:
    names = {name: variable_name(Whole, name) for name in ("workers", "port", "topic_prefix", "mongodb_uri")}
    assert names == {
        "workers": "MAIL_INGEST_WORKERS",
        "port": "PORT",
        "topic_prefix": "TOPIC_PREFIX",
        "mongodb_uri": "MONGODB_URI",
    }


def test_every_setting_is_described() -> None:
    assert [name for name, field in Whole.model_fields.items() if not field.description] == []


def test_a_misspelt_setting_in_code_is_an_error() -> None:
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
        ({"SERVICE_TOKEN": SECRET}, "SERVICE_TOKEN"),
        ({"AUTHORITY_URL": SECRET}, "AUTHORITY_URL"),
        ({"MAIL_INGEST_WORKERS": SECRET}, "MAIL_INGEST_WORKERS"),
        ({"MAIL_INGEST_WORKERS": "0"}, "MAIL_INGEST_WORKERS"),
        ({"MAIL_INGEST_CLIENT_SECRET_FILE": f"/nowhere/{SECRET}"}, "MAIL_INGEST_CLIENT_SECRET_FILE"),
        ({"SERVICE_TOKEN": "x" * 16, "SERVICE_TOKEN_FILE": __file__}, "SERVICE_TOKEN"),
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
        load_settings(Whole)
    message = capsys.readouterr().err
    assert exit_.value.code == 2
    assert message.startswith(f"bad setting {named}: ")
    assert message.count("\n") == 1
    assert SECRET not in message


@pytest.mark.parametrize(
    "variable, suggestion",
    [
        ("KAFKA_PARTITION", "KAFKA_PARTITIONS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("MONGODB_URL", "MONGODB_URI"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("RECORD_TOPICS", "RECORDS_TOPICS"),
        ("MAIL_INGEST_WORKER", "MAIL_INGEST_WORKERS"),
        ("MAIL_INGEST_CLIENT_SECRETS", "MAIL_INGEST_CLIENT_SECRET"),
        ("KAFKA_SASL_PASSWORD_FIL", "KAFKA_SASL_PASSWORD_FILE"),
    ],
)
def test_a_misspelt_variable_stops_the_start_with_a_suggestion(
    variable: str, suggestion: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, SECRET)
    with pytest.raises(SystemExit):
        load_settings(Whole)
    message = capsys.readouterr().err
    assert message == f"bad setting {variable}: there is no such setting, did you mean {suggestion}?\n"


def test_an_unknown_variable_with_the_service_prefix_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_INGEST_XYZ", "1")
    with pytest.raises(SystemExit):
        load_settings(Whole)
    assert capsys.readouterr().err == "bad setting MAIL_INGEST_XYZ: there is no such setting\n"


@pytest.mark.parametrize(
    "variable",
    [
        "KAFKA_PORT",
        "KAFKA_SERVICE_HOST",
        "KAFKA_SERVICE_PORT",
        "KAFKA_SERVICE_PORT_CLIENT",
        "KAFKA_PORT_9092_TCP",
        "KAFKA_PORT_9092_TCP_ADDR",
        "MAIL_INGEST_PORT",
        "MAIL_INGEST_SERVICE_HOST",
        "MAIL_INGEST_SERVICE_PORT_WEBHOOK",
        "MAIL_INGEST_PORT_18081_TCP_PROTO",
        "TRACKING_TENANTS",
        "KAFKA_HEAP_OPTS",
        "HOSTNAME",
    ],
)
def test_variables_of_kubernetes_and_of_other_programs_are_ignored(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:9092")
    load_settings(Whole)


def test_no_setting_has_a_name_that_kubernetes_sets() -> None:
    names = [variable_name(Whole, name) for name in Whole.model_fields]
    assert [name for name in names if name.endswith(("_PORT", "_SERVICE_HOST"))] == []


def test_a_secret_can_be_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    for name in ("MAIL_INGEST_CLIENT_SECRET", "KAFKA_SASL_PASSWORD"):
        monkeypatch.setenv(name + FILE_SUFFIX, str(tmp_path / "secret"))
    settings = load_settings(Whole)
    assert settings.client_secret is not None
    assert settings.kafka_sasl_password is not None
    assert settings.client_secret.get_secret_value() == SECRET
    assert settings.kafka_sasl_password.get_secret_value() == SECRET


def test_secrets_are_not_printed() -> None:
    settings = KafkaSettings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="matcher",
        kafka_sasl_password=SecretStr(SECRET),
    )
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


# -- how connections are secured ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_the_protocol_selects_tls_and_sasl(
    protocol: str, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        **CREDENTIALS,
        "KAFKA_SECURITY_PROTOCOL": protocol,
        "KAFKA_SASL_MECHANISM": mechanism,
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(Whole)
    options, security = client_options(settings), broker_security(settings)
    assert options["security_protocol"] == protocol
    assert (options["ssl_context"] is not None) == security.use_ssl == protocol.endswith("SSL")
    assert options.get("sasl_mechanism") == (mechanism if protocol.startswith("SASL") else None)
    assert getattr(security, "password", None) == (SECRET if protocol.startswith("SASL") else None)


def test_tls_verifies_the_broker_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    context = client_options(load_settings(Whole))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
