"""The commands, each in a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path

from .bus import ROOT, Bus
from .worlds import record

ANN = "ann@fabrikam.com"


async def matcher(*arguments: str, **environment: str) -> tuple[int | None, list[str], str]:
    """Exit status, lines and complaints of `python -m services.matcher …`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.matcher",
        *arguments,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaints = await process.communicate()
    return process.returncode, out.decode().splitlines(), complaints.decode()


async def test_check_says_of_each_record_whether_it_would_be_taken_and_where_it_is_wrong(
    tmp_path: Path,
) -> None:
    file = tmp_path / "records.jsonl"
    good = '{"tenant":"t","type":"contact","id":"c","emails":[null,"x@y.z"],"unknown":1}'
    file.write_bytes(
        b"\n".join(
            [
                good.encode(),
                b'{"tenant":"t","type":"project","id":"p","lookups":{"customer":{"type":"lead","id":"l"}}}',
                b"",
                b'{"tenant":"t","type":"contact"}',
                b'{"tenant":"\xff","type":"contact"',
                b'{"tenant":"t","type":"contact","id":"c","emails":["a@b.c",5]}',
            ]
        )
    )

    status, lines, _ = await matcher("check", str(file))

    assert status == 1
    assert [line.removeprefix(f"{file}:").split(": ")[:3] for line in lines] == [
        ["1", "t/contact/c", "taken"],
        ["2", "refused", "lookups.customer.type"],
        ["4", "refused", "id"],
        ["5", "refused", lines[3].split(": ")[2]],
        ["6", "refused", "emails.1"],
    ]

    file.write_text(good)
    assert await matcher("check", str(file)) == (0, [f"{file}:1: t/contact/c: taken"], "")


async def test_check_of_a_file_that_is_not_there_says_so() -> None:
    status, _, complaints = await matcher("check", "/no/such/file")

    assert (status, complaints) == (1, "cannot read /no/such/file: No such file or directory\n")


async def test_addresses_and_explain_read_the_records_from_kafka(bus: Bus) -> None:
    await bus.publish(
        record("contact", "c", emails=["Ann@Fabrikam.com", "second@fabrikam.com"]),
        record("opportunity", "o", stakeholder_ids=["c"]),
        record("opportunity", "empty"),
    )
    await bus.delete("opportunity", "never-there")
    await bus.send_raw((("fabrikam", "account", "bad"), b"{}"))

    status, lines, _ = await matcher("addresses", "--tenant", "fabrikam", **bus.environment)
    assert status == 0
    assert [json.loads(line) for line in lines] == [
        {"tenant": "fabrikam", "type": "contact", "id": "c", "addresses": [ANN, "second@fabrikam.com"]},
        {"tenant": "fabrikam", "type": "opportunity", "id": "empty", "addresses": []},
        {"tenant": "fabrikam", "type": "opportunity", "id": "o", "addresses": [ANN]},
    ]

    explain = ("explain", "--tenant", "fabrikam", "--address")
    assert (await matcher(*explain, ANN, **bus.environment))[:2] == (
        0,
        [
            f"contact/c [addresses]  contact.address: {ANN} is an address of this contact",
            f"opportunity/o -> stakeholder [email]  opportunity.stakeholder: {ANN} is a stakeholder of this opportunity",
        ],
    )
    status, lines, _ = await matcher(
        *explain, "second@fabrikam.com", "--record", "opportunity/o", **bus.environment
    )
    assert status == 1
    assert f"opportunity/o -> stakeholder [email]  opportunity.stakeholder: no: {ANN}" in lines
    assert (await matcher(*explain, ANN, "--record", "account/bad", **bus.environment))[:2] == (
        1,
        ["there is no account/bad: its last message was refused"],
    )
    assert (await matcher(*explain, "x@y.z", **bus.environment))[:2] == (
        1,
        ["x@y.z relates to no record of this tenant"],
    )


async def test_a_bad_rules_file_stops_the_start_and_says_why(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('off = ["account.contacts"]')

    status, _, complaints = await matcher(RULES_FILE=str(file))

    assert status == 2
    assert complaints.startswith(
        f"bad setting RULES_FILE: {file}: there is no rule called account.contacts; the rules are "
    )


async def test_a_kafka_that_is_away_is_said_in_one_line() -> None:
    status, _, complaints = await matcher("addresses", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")

    assert status == 1
    assert complaints.splitlines()[-1].startswith("Kafka does not answer at 127.0.0.1:1")
