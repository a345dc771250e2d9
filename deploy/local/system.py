"""The whole system on this machine: Kafka, MongoDB, the simulator and the three services.

    with LocalStack(folder, tied=True) as stack, System(stack, folder, prefix="demo-") as system:
        system.start()
        system["matcher"].kill()
        system["matcher"].start()
        system.add("matcher")                  # "matcher-2"
        system["tracking"].status()

Everything that it started has stopped when the `with` ends, also by Ctrl-C. Without a `with` it
runs on in the background, and another Python process with the same folder sees and stops it.
"""

import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from deploy.local.processes import Background, LocalError, Say, Usage, choose_port, say
from deploy.local.stack import LocalStack

ROOT = Path(__file__).parents[2]

TENANT = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a00"
"""The tenant that a simulator has from its start."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of our programs and how it is started.

    Attributes:
        ports: setting -> its usual value. The first is where health and status are asked.
        env: other settings; what stands in braces is filled in by `System`.
    """

    name: str
    module: str
    ports: Mapping[str, int]
    env: Mapping[str, str] = field(default_factory=dict)
    status: str = "/status"


SIMULATOR = Program(
    "simulator",
    "simulator",
    {"SIMULATOR_LISTEN": 18443, "SIMULATOR_BROWSER_LISTEN": 18444},
    {"SIMULATOR_DIR": "{simulator_dir}", "SIMULATOR_TENANT_ID": "{tenant}"},
    status="/control/counters",
)
MAIL_INGEST = Program(
    "mail-ingest",
    "services.mail_ingest",
    {"PORT": 18081, "WEBHOOK_PORT": 18080},
    {
        "MONGODB_DATABASE": "{prefix}mail_ingest",
        "WEBHOOK_URL": "http://127.0.0.1:{webhook_port}",
        "GRAPH_URL": "{simulator}/v1.0",
        "AUTHORITY_URL": "{simulator}",
        "CA_FILE": "{ca}",
        "CLIENT_ID": "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a01",  # the simulator's registrations, which open nothing else
        "CLIENT_SECRET": "capture-secret-of-the-simulator",
        "SERVICE_TOKEN": "{service_token}",
    },
)
MATCHER = Program("matcher", "services.matcher", {"PORT": 18082})
TRACKING = Program(
    "tracking",
    "services.tracking",
    {"PORT": 18083},
    {
        "MONGODB_DATABASE": "{prefix}tracking",
        "AUTHORITY_URL": "{simulator}",
        "BROWSER_AUTHORITY_URL": "{for_browsers}",  # they do not trust the simulator's CA
        "CA_FILE": "{ca}",
        "AUDIENCE": "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02",
        "TENANTS": '["{tenant}"]',
        "INGEST_URL": "{mail_ingest}",
        "SERVICE_TOKEN": "{service_token}",
    },
)
PROGRAMS = {program.name: program for program in (SIMULATOR, MAIL_INGEST, MATCHER, TRACKING)}
"""In the order in which they start."""

# Twelve partitions a topic are enough for one machine, and quick to make.
EVERYWHERE = {"KAFKA_PARTITIONS": "12", "PYTHONUNBUFFERED": "1"}

# A service drains within 10 s (its promise); what still runs then is killed, and that is said.
DRAIN_SECONDS = 10.0
# A service starts in 2 s; on a busy machine, with tables to read, it may take a minute.
READY_SECONDS = 120.0


class Process:
    """One process of the system: a program, or a further replica of one."""

    def __init__(self, system: "System", program: Program, name: str) -> None:
        self.name = name
        self.program = program
        self.background = Background(name, system.folder)
        self._system = system

    @property
    def running(self) -> bool:
        return self.background.pid is not None

    @property
    def ports(self) -> dict[str, int]:
        """Its ports, by setting."""
        return self._system.ports_of(self.name)

    @property
    def url(self) -> str:
        """Where it answers for health and status (and the simulator for everything)."""
        port = self.ports[next(iter(self.program.ports))]
        return f"https://localhost:{port}" if self.program is SIMULATOR else f"http://127.0.0.1:{port}"

    def start(self, env: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start it, if it does not run, and wait until it is ready; `env` are settings for this time."""
        if self.running:
            return
        self._system.choose_ports(self)
        self.background.start(
            [sys.executable, "-m", self.program.module],
            env=self._system.environment(self) | dict(env or {}),
            cwd=ROOT,
            tied=self._system.tied,
        )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it says that it can do its job."""
        self.background.wait_until(lambda: self.not_ready() is None, seconds, "getting ready")

    def not_ready(self) -> str | None:
        """Why it cannot do its job, or None where it can."""
        if not self.running:
            return "it does not run"
        try:
            answer = self.get("/health/ready")
        except httpx2.HTTPError as error:
            return f"it does not answer ({error})"
        return None if answer.status_code == httpx2.codes.OK else answer.text

    def status(self) -> dict[str, Any]:
        """What is still to be done there, as counts."""
        return dict(self.get(self.program.status).raise_for_status().json())

    def get(self, path: str) -> httpx2.Response:
        """One GET on its own port."""
        context = (
            ssl.create_default_context(cafile=self._system.ca)
            if self.url.startswith("https:") and self._system.ca.exists()
            else True
        )
        with httpx2.Client(verify=context, trust_env=False, timeout=10) as client:
            return client.get(self.url + path)

    def usage(self) -> Usage | None:
        """CPU seconds and memory so far, or None if it does not run."""
        return self.background.usage()

    def stop(self) -> bool:
        """SIGTERM, SIGKILL after the 10 s that it has to drain. Returns whether it went by itself."""
        went = self.background.stop(DRAIN_SECONDS)
        if not went:
            self._system.say(
                f"{self.name} did not drain within {DRAIN_SECONDS:.0f} s and was killed; see {self.background.log}"
            )
        return went

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self.background.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP puts it to sleep, SIGCONT wakes it."""
        self.background.signal(number)


class System:
    """The simulator and the services on a stack.

    Args:
        stack: Kafka and MongoDB, started.
        folder: where its logs, process ids and the simulator's files are.
        prefix: before the names of topics, groups and databases, so that several systems share a stack.
        tenant: the tenant that the simulator has and tracking takes tokens of.
        env: settings for all of them.
        env_of: settings for one program, by its name.
        usual_ports: whether the ports of the table above are tried first; else any free ones are taken.
        tied: whether the processes are killed when this Python process ends, however that ends.
        say: takes each line of progress.
    """

    def __init__(
        self,
        stack: LocalStack,
        folder: Path,
        *,
        prefix: str = "",
        tenant: str = TENANT,
        env: Mapping[str, str] | None = None,
        env_of: Mapping[str, Mapping[str, str]] | None = None,
        usual_ports: bool = False,
        tied: bool = True,
        say: Say = say,
    ) -> None:
        self.stack = stack
        self.folder = folder.resolve()
        self.prefix = prefix
        self.tied = tied
        self.say = say
        self._tenant = tenant
        self._env = dict(env or {})
        self._env_of = {name: dict(settings) for name, settings in (env_of or {}).items()}
        self._usual_ports = usual_ports
        self._file = self.folder / "system.json"
        self._processes = {
            name: Process(self, _program(name), name) for name in (*PROGRAMS, *self._noted()["ports"])
        }

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    @property
    def simulator(self) -> str:
        """Where the simulator listens."""
        return self["simulator"].url

    @property
    def for_browsers(self) -> str:
        """Where browsers sign in and find the simulator's control page."""
        return f"http://127.0.0.1:{self['simulator'].ports['SIMULATOR_BROWSER_LISTEN']}"

    @property
    def ca(self) -> Path:
        """The certificate of the CA that the simulator's is signed by."""
        return self.folder / "simulator" / "ca.pem"

    @property
    def service_token(self) -> str:
        """The credential of mail-ingest's internal port."""
        return str(self._noted()["service_token"])

    def start(self, *names: str) -> None:
        """Create the topics, start these programs (default: all) and wait until they are ready.

        All or nothing: if one does not get ready, those that were started here are stopped.
        """
        self.say("creating the topics …")
        self.create_topics()
        processes = [self[name] for name in names or PROGRAMS]
        for name in PROGRAMS:  # all ports first: each is told where the others are, or will be
            if not self[name].running:
                self.choose_ports(self[name])
        started = [process for process in processes if not process.running]
        try:
            # The simulator first: the services trust the CA that it makes at its start.
            for together in _simulator_and_services(processes):
                for process in together:
                    if process in started:
                        self.say(f"starting {process.name} on {process.url} …")
                        process.start(wait=False)
                for process in together:
                    process.wait_until_ready()
        except BaseException:
            _stop_all(started)
            raise

    def add(self, name: str, env: Mapping[str, str] | None = None, *, wait: bool = True) -> Process:
        """Start one more replica of this program, which gets the name `NAME-2` and so on."""
        number = sum(process.program.name == name for process in self) + 1
        process = self._processes[f"{name}-{number}"] = Process(self, PROGRAMS[name], f"{name}-{number}")
        process.start(env, wait=wait)
        return process

    def replicas(self, name: str) -> list[Process]:
        """All replicas of this program, running or not."""
        return [process for process in self if process.program.name == name]

    def stop(self) -> bool:
        """Stop all processes, the simulator last. Returns whether all went by themselves."""
        went = _stop_all(list(self))
        for name in self._processes.keys() - PROGRAMS.keys():  # further replicas are for the time
            del self._processes[name]
        noted = self._noted()
        self._note(
            noted | {"ports": {name: ports for name, ports in noted["ports"].items() if name in PROGRAMS}}
        )
        return went

    def create_topics(self) -> None:
        """Create the topics that are missing and check all, by the command that does so anywhere."""
        self.run_command("shared.provision", "create")

    def run_command(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run one of the system's commands with its settings; returns what it printed."""
        program = next((program for program in PROGRAMS.values() if program.module == module), None)
        settings = self.environment(self[program.name]) if program else self._shared_environment()
        ran = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=settings | dict(env or {}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise LocalError(
                f"python -m {module} {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
            )
        return ran.stdout

    def environment(self, process: Process) -> dict[str, str]:
        """All settings of a process, as it gets them."""
        webhook_port = self["mail-ingest"].ports["WEBHOOK_PORT"]
        values = {
            "prefix": self.prefix,
            "tenant": self._tenant,
            "simulator": self.simulator,
            "for_browsers": self.for_browsers,
            "simulator_dir": str(self.folder / "simulator"),
            "ca": str(self.ca),
            "mail_ingest": self["mail-ingest"].url,
            "webhook_port": str(webhook_port),
            "service_token": self.service_token,
        }
        return {
            **self._shared_environment(),
            **{name: text.format_map(values) for name, text in process.program.env.items()},
            **{name: _listening_address(name, port) for name, port in process.ports.items()},
            "INSTANCE": process.name,
            **self._env_of.get(process.program.name, {}),
        }

    def ports_of(self, name: str) -> dict[str, int]:
        """The ports that this process has or had; where it never ran, the usual ones."""
        return {**_program(name).ports, **self._noted()["ports"].get(name, {})}

    def choose_ports(self, process: Process) -> None:
        """Note the ports of a process that is about to start: those it had, if they are free."""
        noted = self._noted()
        taken = {
            port for name, ports in noted["ports"].items() if name != process.name for port in ports.values()
        }
        usual = (
            process.program.ports
            if self._usual_ports and process.name in PROGRAMS
            else dict.fromkeys(process.program.ports, 0)
        )
        chosen: dict[str, int] = {}
        for setting, preferred in {**usual, **noted["ports"].get(process.name, {})}.items():
            chosen[setting] = choose_port(preferred, taken | set(chosen.values()))
        noted["ports"][process.name] = chosen
        self._note(noted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _shared_environment(self) -> dict[str, str]:
        return {
            **EVERYWHERE,
            **os.environ,
            **self.stack.environment,
            "TOPIC_PREFIX": self.prefix,
            **self._env,
        }

    def _noted(self) -> dict[str, Any]:
        """What the folder remembers: the ports of each process, and the credential between services."""
        if not self._file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
            self._note({"service_token": secrets.token_urlsafe(24), "ports": {}})
        return dict(json.loads(self._file.read_text()))

    def _note(self, noted: Mapping[str, Any]) -> None:
        self._file.write_text(json.dumps(noted, indent=1) + "\n")


def _listening_address(setting: str, port: int) -> str:
    """The value of a setting for a port: `…_LISTEN` settings are `host:port`."""
    return f"127.0.0.1:{port}" if setting.endswith("_LISTEN") else str(port)


def _program(name: str) -> Program:
    """The program that a process of this name runs: that of `matcher-2` is `matcher`."""
    return PROGRAMS.get(name) or PROGRAMS[name.rpartition("-")[0]]


def _stop_all(processes: list[Process]) -> bool:
    """Stop them together, the simulator after the services; returns whether all went by themselves."""
    simulator, services = _simulator_and_services(processes)
    with ThreadPoolExecutor(max_workers=len(PROGRAMS)) as pool:
        went = [*pool.map(Process.stop, services), *map(Process.stop, simulator)]
    return all(went)


def _simulator_and_services(processes: list[Process]) -> tuple[list[Process], list[Process]]:
    return [p for p in processes if p.program is SIMULATOR], [
        p for p in processes if p.program is not SIMULATOR
    ]
