"""docker-compose.yml: settings, ports, networks and containers."""

import json
import re
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from deploy.local.programs import TENANT
from deploy.local.system import DRAIN_SECONDS
from shared.settings import EnvironmentSettings, load_settings, variable_name
from simulator import sample_company
from simulator.settings import NAMES as SIMULATOR_SETTINGS
from simulator.settings import from_environment

from .compose import FOREIGN, OWN, ROOT, SETTINGS, TRIAL, Config, compose, environment_of, read_services


@pytest.fixture(scope="module")
def own() -> dict[str, Config]:
    """The services with a tenant of Microsoft 365."""
    return read_services(OWN, "--env-file=/dev/null")


# -- settings -------------------------------------------------------------------------------------


def test_documents_name_the_same_command(trial: dict[str, Config]) -> None:
    command = "docker compose --env-file deploy/simulator.env up --build"
    for document in ("README.md", "docker-compose.yml", "deploy/simulator.env"):
        assert command in (ROOT / document).read_text(), document
    readme = (ROOT / "README.md").read_text()
    ports = [port["published"] for name in ("tracking", "simulator") for port in trial[name]["ports"]]
    assert [port for port in ports if f"http://127.0.0.1:{port}" not in readme] == []
    assert sample_company.ANN.name in readme


def test_profile_adds_only_the_simulator(trial: dict[str, Config], own: dict[str, Config]) -> None:
    assert own.keys() == {"kafka", "mongodb", "topics", "mail-ingest", "matcher", "tracking"}
    assert trial.keys() - own.keys() == {"simulator", "port-forwarder", "company"}
    with_profile = read_services(OWN, "--env-file=/dev/null", "--profile=simulator")
    assert with_profile.keys() == trial.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_of_a_service_is_one_of_its_settings(name: str, trial: dict[str, Config]) -> None:
    assert trial[name]["environment"].keys() - variables_of(SETTINGS[name]) == set()


def variables_of(model: type[EnvironmentSettings]) -> set[str]:
    return {variable_name(model, field) for field in model.model_fields}


def test_every_variable_of_the_simulator_is_one_of_its_settings(trial: dict[str, Config]) -> None:
    assert set(trial["simulator"]["environment"]) <= SIMULATOR_SETTINGS
    assert from_environment(environment_of(trial["simulator"])).tenant == TENANT


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("whose", ["trial", "own"])
def test_each_service_accepts_its_settings(
    name: str, whose: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables_of(SETTINGS[name]):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment_of(request.getfixturevalue(whose)[name]).items():
        monkeypatch.setenv(variable, value)
    load_settings(SETTINGS[name])


@pytest.mark.parametrize("missing", OWN)
def test_missing_setting_is_reported_with_its_meaning(missing: str) -> None:
    ran = compose({name: value for name, value in OWN.items() if name != missing}, "--env-file=/dev/null")
    assert ran.returncode != 0
    assert re.search(rf"required variable {missing} is missing a value: \w+ .* \w+", ran.stderr)


@pytest.mark.parametrize("place", ["/run/secrets/client.pem", "client.pem"])
def test_certificate_replaces_the_secret(place: str) -> None:
    pem = ROOT / place
    certificate = {"MAIL_INGEST_CLIENT_SECRET": "", "MAIL_INGEST_CLIENT_CERTIFICATE": place}
    mail_ingest = read_services({**OWN, **certificate}, "--env-file=/dev/null")["mail-ingest"]
    variables = environment_of(mail_ingest)
    assert variables["MAIL_INGEST_CLIENT_SECRET"] == ""
    assert variables["MAIL_INGEST_CLIENT_CERTIFICATE"] in mounted_from(pem, mail_ingest)


def test_rules_file_is_mounted() -> None:
    matcher = read_services({**OWN, "MATCHER_RULES_FILE": "rules.toml"}, "--env-file=/dev/null")["matcher"]
    assert environment_of(matcher)["MATCHER_RULES_FILE"] in mounted_from(ROOT / "rules.toml", matcher)


def mounted_from(source: Path, service: Config) -> set[str]:
    """Return the paths in the container at which a file of this machine is mounted."""
    return {mount["target"] for mount in service["volumes"] if mount["source"] == str(source)}


def test_services_have_the_addresses_of_each_other(trial: dict[str, Config], own: dict[str, Config]) -> None:
    for config in (trial, own):
        mail_ingest, tracking = environment_of(config["mail-ingest"]), environment_of(config["tracking"])
        assert tracking["TRACKING_MAIL_INGEST_URL"] == f"http://mail-ingest:{mail_ingest['PORT']}"
        assert tracking["SERVICE_TOKEN"] == mail_ingest["SERVICE_TOKEN"]
        bootstrap = environment_of(config["matcher"])["KAFKA_BOOTSTRAP_SERVERS"]
        assert environment_of(config["kafka"])["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{bootstrap}"
    simulator = from_environment(environment_of(trial["simulator"]))
    assert environment_of(trial["mail-ingest"])["MAIL_INGEST_GRAPH_URL"] == f"{simulator.base_url}/v1.0"
    for name in ("mail-ingest", "tracking"):
        assert environment_of(trial[name])["AUTHORITY_URL"] == simulator.base_url
        assert environment_of(trial[name])["AUTHORITY_CA_FILE"] == f"{simulator.folder}/ca.pem"
        assert (str(simulator.folder), "simulator") in {
            (mount["target"], mount["source"]) for mount in trial[name]["volumes"]
        }
    host = httpx2.URL(simulator.base_url).host
    assert trial["simulator"]["networks"]["outside"]["aliases"] == [host]


# -- ports and networks ---------------------------------------------------------------------------


def test_ports_match_the_architecture_page(trial: dict[str, Config]) -> None:
    rows = re.findall(
        r"^\| ([a-z-]+) \| (\d+) \| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 6
    for name, port, setting in rows:
        listening = environment_of(trial[name])[setting]  # a port, or host:port
        assert listening.rpartition(":")[2] == port, f"{setting} of {name}"


def test_only_page_and_webhook_are_published_and_on_this_machine_alone(
    trial: dict[str, Config], own: dict[str, Config]
) -> None:
    def published(config: dict[str, Config]) -> set[tuple[str, str, int]]:
        ports = [(name, port) for name, service in config.items() for port in service.get("ports", [])]
        assert {port["host_ip"] for _, port in ports} == {"127.0.0.1"}
        return {(name, port["published"], port["target"]) for name, port in ports}

    assert published(own) == {("tracking", "18083", 18083), ("mail-ingest", "18080", 18080)}
    ((name, published_port, container_port),) = published(trial) - published(own)
    for_browsers = httpx2.URL(environment_of(trial["tracking"])["TRACKING_BROWSER_AUTHORITY_URL"])
    assert (name, published_port) == ("simulator", str(for_browsers.port))
    mail_ingest = environment_of(trial["mail-ingest"])
    webhook = httpx2.URL(mail_ingest["MAIL_INGEST_WEBHOOK_URL"]).netloc.decode()
    webhook_port = mail_ingest["MAIL_INGEST_WEBHOOK_LISTEN"].rpartition(":")[2]
    browser_listen = environment_of(trial["simulator"])["SIMULATOR_BROWSER_LISTEN"]
    assert trial["port-forwarder"]["command"] == [
        f"0.0.0.0:{container_port}={browser_listen}",
        f"{webhook}=mail-ingest:{webhook_port}",
    ]


def test_only_services_with_external_clients_or_servers_are_on_the_outer_network(
    trial: dict[str, Config],
) -> None:
    config = json.loads(compose({}, f"--env-file={TRIAL}").stdout)
    assert config["networks"]["inside"]["internal"] is True
    assert {name for name, service in trial.items() if "outside" in service.get("networks", {})} == {
        "mail-ingest",
        "tracking",
        "simulator",
        "company",
    }


# -- containers -----------------------------------------------------------------------------------


def test_each_of_our_containers_is_hardened_and_has_time_to_drain(trial: dict[str, Config]) -> None:
    for name in trial.keys() - FOREIGN:
        service = trial[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["init"] is True, name
        assert "privileged" not in service, name
        assert "user" not in service, "the image sets the user"
        assert seconds(service["stop_grace_period"]) > DRAIN_SECONDS, name
        assert service["restart"] == (
            "on-failure:5" if name in {"topics", "company"} else "unless-stopped"
        ), name
    for name in FOREIGN:
        assert trial[name]["security_opt"] == ["no-new-privileges:true"]
        assert trial[name]["restart"] == "unless-stopped"


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found
    return timedelta(minutes=int(found[1] or 0), seconds=int(found[2] or 0)).total_seconds()


def test_each_dependency_has_a_health_check_or_ends(trial: dict[str, Config]) -> None:
    for name, service in trial.items():
        for other, how in service.get("depends_on", {}).items():
            match how["condition"]:
                case "service_healthy":
                    assert trial[other]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, (
                        f"{name} waits for {other}"
                    )
                case "service_completed_successfully":
                    assert trial[other]["restart"].startswith("on-failure"), f"{name} waits for {other}"
                case condition:
                    assert (name, other, condition) == ("company", "port-forwarder", "service_started")
    for name in ("mail-ingest", "matcher", "tracking", "simulator"):
        assert "/health/live" in trial[name]["healthcheck"]["test"][-1]


def test_data_are_in_volumes(trial: dict[str, Config]) -> None:
    volumes = {
        name: {
            (mount["source"], mount["target"])
            for mount in service.get("volumes", [])
            if mount["type"] == "volume"
        }
        for name, service in trial.items()
    }
    assert ("kafka", environment_of(trial["kafka"])["KAFKA_LOG_DIRS"]) in volumes["kafka"]
    assert ("mongodb", "/data/db") in volumes["mongodb"]


def test_each_mounted_file_is_in_the_repository(trial: dict[str, Config]) -> None:
    mounted = {
        Path(mount["source"])
        for service in trial.values()
        for mount in service.get("volumes", [])
        if mount["type"] == "bind"
    }
    assert mounted
    assert [path for path in mounted if not path.is_file() or ROOT not in path.parents] == []
