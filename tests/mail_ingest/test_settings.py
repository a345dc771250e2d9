"""The settings of mail-ingest."""

import pytest
from pydantic import HttpUrl, ValidationError

from services.mail_ingest.settings import IngestSettings
from shared.settings import load_settings, variable_name


@pytest.mark.parametrize(
    "text, address",
    [
        ("127.0.0.1:18080", ("127.0.0.1", 18080)),
        ("webhook.contoso.com:0", ("webhook.contoso.com", 0)),
        ("[::1]:443", ("::1", 443)),
    ],
)
def test_webhook_listens_on_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert IngestSettings(webhook_listen=text).webhook_address == address


@pytest.mark.parametrize("text", ["", "18080", ":18080", "localhost:", "localhost:http", "localhost:65536"])
def test_webhook_address_must_be_host_and_port(text: str) -> None:
    with pytest.raises(ValidationError, match="not host:port"):
        IngestSettings(webhook_listen=text)


def test_own_settings_have_the_prefix_and_shared_ones_have_none() -> None:
    names = {name: variable_name(IngestSettings, name) for name in IngestSettings.model_fields}
    assert names["webhook_listen"] == "MAIL_INGEST_WEBHOOK_LISTEN"
    assert names["mongodb_database"] == "MAIL_INGEST_MONGODB_DATABASE"
    assert {names[name] for name in ("port", "authority_ca_file", "service_token", "mongodb_uri")} == {
        "PORT",
        "AUTHORITY_CA_FILE",
        "SERVICE_TOKEN",
        "MONGODB_URI",
    }


def test_secret_and_certificate_together_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_INGEST_CLIENT_SECRET", "hidden")
    monkeypatch.setenv("MAIL_INGEST_CLIENT_CERTIFICATE", "client.pem")

    with pytest.raises(SystemExit) as stopped:
        load_settings(IngestSettings)

    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("bad setting MAIL_INGEST_CLIENT_SECRET: ")
    assert "hidden" not in printed


def test_environment_has_a_name_by_default() -> None:
    by_address = IngestSettings(webhook_url=HttpUrl("https://hooks.contoso.com/test/"))
    assert by_address.environment_name == "hooks.contoso.com/test"
    assert IngestSettings(environment="production").environment_name == "production"
    with pytest.raises(ValidationError, match="environment"):
        IngestSettings(environment="a b")
