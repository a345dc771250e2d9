"""The whole system on this machine: Kafka, MongoDB, the simulator and the three services.

    with LocalStack(folder, tied=True) as stack, System(stack, folder, prefix="demo-") as system:
        system.start()
        system["matcher"].kill()
        system["matcher"].start()
        system.add("matcher")                  # "matcher-2"
        system["tracking"].status()

All processes that it started have stopped when the `with` ends, also after Ctrl-C. Without a `with` they go
on in the background, and another Python process with the same folder can control them.
"""

import functools
import json
import os
import secrets
import signal
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2

from deploy.local.modules import Interpreters, ModuleStarter
from deploy.local.processes import Background, LocalError, Progress, Usage, choose_port, print_progress
from deploy.local.programs import PROGRAMS, SHARED_SETTINGS, SIMULATOR, TENANT, Program, program_of

# A service drains within 10 s (docs/scaling.md); a process that still runs then is killed and reported.
DRAIN_SECONDS = 10.0
# A service starts in 2 s; on a busy machine, with tables to read, a start may take a minute.
READY_SECONDS = 120.0


class Stack(Protocol):
    """Kafka and MongoDB, started."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which our programs connect to them."""


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
        """Address for health and status; the simulator's address for everything."""
        port = self.ports[next(iter(self.program.ports))]
        return f"https://localhost:{port}" if self.program is SIMULATOR else f"http://127.0.0.1:{port}"

    def start(self, env: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start the process if it does not run, and wait until it is ready.

        Args:
            env: further settings, for this start.
            wait: False: return before it is ready.
        """
        if self.running:
            return
        self._system.choose_ports(self)
        settings = self._system.environment(self) | dict(env or {})
        popen = self._system.modules.popen
        self.background.start_by(lambda log: popen(self.program.module, env=settings, stdout=log, stderr=log))
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until `/health/ready` succeeds.

        Raises:
            LocalError: it ended, or it is not ready after `seconds`.
        """
        self.background.wait_until(lambda: self.not_ready() is None, seconds, "getting ready")

    def not_ready(self) -> str | None:
        """Return the reason why the process is not ready; None if it is ready."""
        if not self.running:
            return "it does not run"
        try:
            response = self.get("/health/ready")
        except httpx2.HTTPError as error:
            return f"it does not answer ({error})"
        return None if response.status_code == httpx2.codes.OK else response.text

    def status(self) -> dict[str, Any]:
        """Return the counts of the work that is left there."""
        return dict(self.get(self.program.status).raise_for_status().json())

    def get(self, path: str) -> httpx2.Response:
        """Send one GET request to the process."""
        ca = self._system.ca
        verify: ssl.SSLContext | bool = self.url.startswith("https:")
        if verify and ca.exists():  # the simulator writes it while it starts
            verify = _trusting(ca, ca.stat().st_mtime_ns)
        with httpx2.Client(verify=verify, trust_env=False, timeout=10) as client:
            return client.get(self.url + path)

    def usage(self) -> Usage | None:
        """CPU seconds and memory; None if the process does not run."""
        return self.background.usage()

    def stop(self) -> bool:
        """Send SIGTERM, and SIGKILL after `DRAIN_SECONDS`. Returns whether SIGTERM was enough."""
        drained = self.background.stop(DRAIN_SECONDS)
        if not drained:
            log = self.background.log
            self._system.progress(
                f"{self.name} did not drain within {DRAIN_SECONDS:.0f} s and was killed; see {log}"
            )
        return drained

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        self.background.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP suspends the process, SIGCONT resumes it."""
        self.background.signal(number)


class System:
    """The simulator and the services on a stack.

    Args:
        stack: a `LocalStack` or a `Cluster`.
        folder: holds the logs, the process ids and the simulator's files.
        prefix: of the names of topics, groups and databases, so that several systems can share a stack.
        tenant: exists in the simulator; tracking accepts its tokens.
        env: settings for all programs.
        env_of: settings for one program, by its name.
        usual_ports: try the ports in `PROGRAMS` first; otherwise use any free ports.
        tied: the kernel kills the processes when this Python process ends, also after SIGKILL.
        modules: starts the programs and commands; by default each in a new interpreter.
        progress: receives each line of progress.
    """

    def __init__(
        self,
        stack: Stack,
        folder: Path,
        *,
        prefix: str = "",
        tenant: str = TENANT,
        env: Mapping[str, str] | None = None,
        env_of: Mapping[str, Mapping[str, str]] | None = None,
        usual_ports: bool = False,
        tied: bool = True,
        modules: ModuleStarter | None = None,
        progress: Progress = print_progress,
    ) -> None:
        self._stack = stack
        self.folder = folder.resolve()
        self.prefix = prefix
        self.modules = modules or Interpreters(tied=tied)
        self.progress = progress
        self._tenant = tenant
        self._env = dict(env or {})
        self._env_of = {name: dict(settings) for name, settings in (env_of or {}).items()}
        self._usual_ports = usual_ports
        self._file = self.folder / "system.json"
        self._processes = {
            name: Process(self, program_of(name), name) for name in (*PROGRAMS, *self._recorded()["ports"])
        }

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    @property
    def kafka_bootstrap(self) -> str:
        """The addresses of Kafka."""
        return self._stack.environment["KAFKA_BOOTSTRAP_SERVERS"]

    @property
    def simulator(self) -> str:
        """The simulator's address."""
        return self["simulator"].url

    @property
    def for_browsers(self) -> str:
        """Address of the sign-in and of the simulator's control page for browsers."""
        return f"http://127.0.0.1:{self['simulator'].ports['SIMULATOR_BROWSER_LISTEN']}"

    @property
    def ca(self) -> Path:
        """The CA certificate that the simulator's certificate is signed with."""
        return self.folder / "simulator" / "ca.pem"

    @property
    def service_token(self) -> str:
        """The credential of mail-ingest's internal port."""
        return str(self._recorded()["service_token"])

    def start(self, *names: str) -> None:
        """Create the topics, start these programs (default: all) and wait until they are ready.

        Raises:
            LocalError: a program does not get ready; those that were started here are stopped again.
        """
        self.progress("creating the topics …")
        self.create_topics()
        processes = [self[name] for name in names or PROGRAMS]
        for name in PROGRAMS:  # all ports first: the settings of each program contain the ports of others
            if not self[name].running:
                self.choose_ports(self[name])
        started = [process for process in processes if not process.running]
        try:
            # The simulator first: the services trust the CA that it creates at its start.
            for together in _simulator_and_services(processes):
                for process in together:
                    if process in started:
                        self.progress(f"starting {process.name} on {process.url} …")
                        process.start(wait=False)
                for process in together:
                    process.wait_until_ready()
        except BaseException:
            _stop_all(started)
            raise

    def add(self, name: str, env: Mapping[str, str] | None = None, *, wait: bool = True) -> Process:
        """Start one more replica of this program; its name is `NAME-2` and so on."""
        number = sum(process.program.name == name for process in self) + 1
        process = self._processes[f"{name}-{number}"] = Process(self, PROGRAMS[name], f"{name}-{number}")
        process.start(env, wait=wait)
        return process

    def replicas(self, name: str) -> list[Process]:
        """Return all replicas of this program, running or not."""
        return [process for process in self if process.program.name == name]

    def stop(self) -> bool:
        """Stop all processes, the simulator last. Returns whether none had to be killed."""
        drained = _stop_all(list(self))
        for name in self._processes.keys() - PROGRAMS.keys():  # the next start has no further replicas
            del self._processes[name]
        recorded = self._recorded()
        ports = {name: ports for name, ports in recorded["ports"].items() if name in PROGRAMS}
        self._record(recorded | {"ports": ports})
        return drained

    def create_topics(self) -> None:
        """Create the topics that are missing and check all, with the command for every environment."""
        self.run_command("shared.provision", "create")

    def run_command(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run one of the system's commands with its settings, and return its output.

        Raises:
            LocalError: the command failed; the message has its output.
        """
        program = next((program for program in PROGRAMS.values() if program.module == module), None)
        settings = self.environment(self[program.name]) if program else self._shared_environment()
        ran = self.modules.run(module, *arguments, env=settings | dict(env or {}))
        if ran.returncode != 0:
            command = f"python -m {module} {' '.join(arguments)}"
            raise LocalError(f"{command} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def environment(self, process: Process) -> dict[str, str]:
        """Return the environment that a process starts with."""
        webhook_port = self["mail-ingest"].ports["MAIL_INGEST_WEBHOOK_LISTEN"]
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
            **{setting: _listening_address(setting, port) for setting, port in process.ports.items()},
            "INSTANCE": process.name,
            **self._env_of.get(process.program.name, {}),
        }

    def ports_of(self, name: str) -> dict[str, int]:
        """Return the ports of the last start of this process; the usual ones before the first start."""
        recorded = self._recorded()["ports"].get(name, {})
        return {setting: recorded.get(setting, port) for setting, port in program_of(name).ports.items()}

    def choose_ports(self, process: Process) -> None:
        """Choose and record the ports for a start of a process: those of its last start if they are free."""
        recorded = self._recorded()
        last_ports = recorded["ports"].get(process.name, {})
        ports_of_others = [ports for name, ports in recorded["ports"].items() if name != process.name]
        taken = {port for ports in ports_of_others for port in ports.values()}
        has_usual_ports = self._usual_ports and process.name in PROGRAMS
        chosen: dict[str, int] = {}
        for setting, usual in process.program.ports.items():
            preferred = last_ports.get(setting, usual if has_usual_ports else 0)
            chosen[setting] = choose_port(preferred, taken | set(chosen.values()))
        recorded["ports"][process.name] = chosen
        self._record(recorded)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _shared_environment(self) -> dict[str, str]:
        return {
            **SHARED_SETTINGS,
            **os.environ,
            **self._stack.environment,
            "TOPIC_PREFIX": self.prefix,
            **self._env,
        }

    def _recorded(self) -> dict[str, Any]:
        """Return the recorded ports of each process, and the credential between the services."""
        if not self._file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
            self._record({"service_token": secrets.token_urlsafe(24), "ports": {}})
        return dict(json.loads(self._file.read_text()))

    def _record(self, content: Mapping[str, Any]) -> None:
        written = self._file.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(content, indent=1) + "\n")
        written.replace(self._file)  # whole at every moment: other threads and processes read it


@functools.lru_cache(maxsize=8)
def _trusting(ca: Path, _changed: int) -> ssl.SSLContext:
    """Return a context that trusts a CA.

    Cached: loading the certificates takes 40 ms of CPU, and a start polls many times.
    """
    return ssl.create_default_context(cafile=ca)


def _listening_address(setting: str, port: int) -> str:
    """Return the value of a setting for a port: the value of a setting `…_LISTEN` is `host:port`."""
    return f"127.0.0.1:{port}" if setting.endswith("_LISTEN") else str(port)


def _stop_all(processes: list[Process]) -> bool:
    """Stop the services at the same time, then the simulator; returns whether none had to be killed."""
    simulator, services = _simulator_and_services(processes)
    with ThreadPoolExecutor(max_workers=len(PROGRAMS)) as pool:
        drained = [*pool.map(Process.stop, services), *map(Process.stop, simulator)]
    return all(drained)


def _simulator_and_services(processes: list[Process]) -> tuple[list[Process], list[Process]]:
    simulator = [process for process in processes if process.program is SIMULATOR]
    return simulator, [process for process in processes if process.program is not SIMULATOR]
