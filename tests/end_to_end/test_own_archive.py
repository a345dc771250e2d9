"""The demo of a user's own archive: `make demo MAIL=… RECORDS=…` with a small archive."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from deploy.local.modules import ROOT
from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from scenarios.archive_source import load_source
from scenarios.errors import UnusableArchiveError
from simulator.control.client import Simulator

from .world import delete_data

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine

ANN = "ann@contoso.example"
CARLA, EVE, OTHER = "carla@fabrikam.example", "eve@adatum.example", "news@example.com"


def letter(number: int, sender: str, to: str, subject: str) -> str:
    date = f"Mon, 0{number} Jan 2001 10:00:00 +0100"
    headers = (
        f"Message-ID: <{number}@mail.example>\nDate: {date}\nFrom: {sender}\nTo: {to}\nSubject: {subject}"
    )
    return f"{headers}\n\nHello\n"


MEETING = f"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:offer
DTSTART:20010101T090000Z
DURATION:PT45M
SUMMARY:Talk about the offer
ORGANIZER:mailto:{ANN}
ATTENDEE:mailto:Carla@Fabrikam.example
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ann's mail and calendar, and one message of a second mailbox, which has the folder's name."""
    mail, crm = tmp_path_factory.mktemp("archive") / "office", tmp_path_factory.mktemp("crm")
    mail.mkdir()
    letters = (
        letter(1, CARLA, ANN, "Our numbers"),
        letter(2, ANN, CARLA, "Re: Our numbers"),
        letter(3, OTHER, ANN, "News"),
    )
    (mail / f"{ANN}.mbox").write_text(
        "\n".join(f"From x Mon Jan  1 00:00:00 2001\n{each}" for each in letters)
    )
    (mail / "one.eml").write_text(letter(4, EVE, "office@contoso.example", "Terms"))
    (mail / f"{ANN}.ics").write_text(MEETING.replace("\n", "\r\n"))
    (crm / "contacts.csv").write_text(
        f"id,name,emails,parent_account_id\ncarla,Carla Reyes,{CARLA},fabrikam\neve,Eve,;{EVE},\n"
    )
    (crm / "accounts.jsonl").write_text(
        '{"type": "account", "id": "fabrikam", "name": "Fabrikam", "emails": []}\n'
    )
    return {"mail": mail, "records": crm}


@pytest.fixture
async def demo(stack: LocalStack, tmp_path: Path, usual_ports: None) -> AsyncIterator["Demo"]:
    demo = Demo(stack, tmp_path)
    yield demo
    demo.stop()
    await delete_data(stack, "demo-")


class Demo:
    """A process of the demo with its own folder, on the Kafka and MongoDB of this test run."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self._env = {**os.environ, **stack.environment, "LOCAL_DIR": str(folder), "KAFKA_PARTITIONS": "2"}
        self._log = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **paths: Path) -> None:
        """Starts the demo with these folders."""
        arguments = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        self._run(sys.executable, "-m", "scenarios.demo", *arguments, *options)

    def make(self, **options: str | Path) -> None:
        """Starts the demo with `make`, without a new installation."""
        self._run(
            "make",
            "--old-file=.venv/.installed",
            f"RUN={sys.executable}",
            "demo",
            *(f"{name}={value}" for name, value in options.items()),
        )

    def _run(self, *command: str) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """All that the demo has printed."""
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        """Waits until the demo has printed a text; fails if the demo ends."""
        deadline = time.monotonic() + 120
        while text not in self.output:
            assert self._process
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def address(self, name: str) -> str:
        """The address that the demo has printed after a name."""
        [found] = re.findall(rf"^  {name} +(https?://\S+)", self.output, re.MULTILINE)
        return str(found)

    def stop(self) -> int:
        """Ends the demo with Ctrl-C. Returns its exit code."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Waits until the demo ends. Returns its exit code."""
        assert self._process
        return self._process.wait(120)


def suggested(demo: Demo, user: str, record: str) -> list[tuple[str, str]]:
    """(subject, direction) of the suggestions of a record that the API returns to a user."""
    simulator = Simulator(demo.address("simulator"), re.findall(r"CA: (.*)\)", demo.output)[0])
    token = simulator.tenant(TENANT).sign_in(user)
    response = httpx2.get(
        f"{demo.address('timeline API')}/records/{record}/timeline",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    simulator.close()
    return sorted(
        (tile["activity"]["subject"], tile["activity"]["direction"] or "")
        for tile in response.raise_for_status().json()["suggestions"]
    )


def test_demo_of_own_archive_shows_each_owner_the_suggestions(demo: Demo, archive: dict[str, Path]) -> None:
    demo.start(**archive)
    demo.wait_for("Ctrl-C stops everything.")
    check_report(demo)

    conversation = [
        ("Our numbers", "incoming"),
        ("Re: Our numbers", "outgoing"),
        ("Talk about the offer", ""),
    ]
    assert suggested(demo, ANN, "contact/carla") == conversation
    assert suggested(demo, ANN, "account/fabrikam") == conversation
    assert suggested(demo, ANN, "contact/eve") == []
    assert suggested(demo, "office@contoso.example", "contact/eve") == [("Terms", "incoming")]
    assert suggested(demo, "office@contoso.example", "contact/carla") == []

    assert demo.stop() == 0
    assert demo.output.endswith("stopped\n")
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(demo.address("the page"), trust_env=False)


@pytest.mark.full("archive")
def test_demo_with_once_ends_when_all_is_on_the_page(demo: Demo, archive: dict[str, Path]) -> None:
    demo.start("--once", **archive)
    assert demo.end() == 0, demo.output
    check_report(demo)


def check_report(demo: Demo) -> None:
    page = demo.address("the page")
    output = re.sub(r"\d+ (ms|s)\b", r"N \1", demo.output)
    for line in (
        "4 e-mails and 1 meeting are in 2 mailboxes N s after the start; the capture starts …",
        "4 of them are suggested, 7 times, on 3 records",
        "the page shows suggestions N s after the start",
        f"  sign in as    {ANN} (3 suggested)   {page}/#/contact/carla",
        f"                office (1 suggested)   {page}/#/contact/eve",
        "Done N s after the start.",
    ):
        assert f"\n{line}\n" in output
    assert re.search(
        r"slowest of 3 timeline reads: N ms, (contact|account) '.*' for \S+, "
        r"[13] of [13] suggestions \(best of 3; ",
        output,
    )


def test_invalid_record_file_ends_the_demo_before_the_start(
    demo: Demo, archive: dict[str, Path], tmp_path: Path
) -> None:
    records = tmp_path / "contacts.csv"
    records.write_text("id,email\ncarla,carla@fabrikam.example\n")
    demo.make(MAIL=archive["mail"], RECORDS=records, READS="0", ONCE="1")
    assert demo.end() != 0
    assert (
        f"{records}, line 1, column email: records have no such column; is it emails?"
        in demo.output.splitlines()
    )
    assert "starting" not in demo.output


@pytest.mark.parametrize(
    "paths, message",
    [
        ({"mail": "mail"}, "MAIL needs RECORDS"),
        ({"records": "records"}, "RECORDS needs MAIL"),
        ({"mail": "nowhere", "records": "records"}, "MAIL: there is no folder "),
        ({"mail": "file", "records": "records"}, "is a file; name its folder."),
        (
            {"mail": "empty", "records": "records"},
            "there is no mail, none of *.mbox, *.mbox.gz, *.eml, *.ics",
        ),
        ({"mail": "mail", "records": "nowhere"}, "RECORDS: there is no "),
        ({"mail": "mail", "records": "empty"}, "there is no record, in no *.jsonl and no *.csv"),
    ],
)
def test_missing_input_is_reported_in_one_line(
    archive: dict[str, Path], tmp_path: Path, paths: dict[str, str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = archive | {
        "nowhere": tmp_path / "nowhere",
        "empty": tmp_path / "empty",
        "file": archive["mail"] / "one.eml",
    }
    with pytest.raises(UnusableArchiveError) as unusable:
        load_source(
            places[paths["mail"]] if "mail" in paths else None,
            places[paths["records"]] if "records" in paths else None,
            TENANT,
        )
    assert message in str(unusable.value)
    assert "\n" not in str(unusable.value)
