"""The commands, each in a process of its own."""

import asyncio
import json
import os
from pathlib import Path

from tests.support import forks

from .peers import Peers
from .worlds import record

ANN = "ann@fabrikam.com"


async def run_matcher(*arguments: str, **environment: str) -> tuple[int, list[str], str]:
    """Exit status, lines of stdout, and stderr of `python -m services.matcher …`."""
    ran = await asyncio.to_thread(forks.run, "services.matcher", *arguments, env=os.environ | environment)
    return ran.returncode, ran.stdout.splitlines(), ran.stderr


async def test_check_reports_each_record_as_valid_or_with_its_fault(
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

    status, lines, _ = await run_matcher("check", str(file))

    assert status == 1
    assert [line.removeprefix(f"{file}:").split(": ")[:3] for line in lines] == [
        ["1", "t/contact/c", "taken"],
        ["2", "refused", "lookups.*.type"],
        ["4", "refused", "id"],
        ["5", "refused", lines[3].split(": ")[2]],
        ["6", "refused", "emails.1"],
    ]

    file.write_text(good)
    assert await run_matcher("check", str(file)) == (0, [f"{file}:1: t/contact/c: taken"], "")


async def test_check_reports_a_missing_file() -> None:
    status, _, errors = await run_matcher("check", "/no/such/file")

    assert (status, errors) == (1, "cannot read /no/such/file: No such file or directory\n")


async def test_addresses_and_explain_read_records_from_kafka(peers: Peers) -> None:
    await peers.publish_records(
        record("contact", "c", emails=["Ann@Fabrikam.com", "second@fabrikam.com"]),
        record("opportunity", "o", stakeholder_ids=["c"]),
        record("opportunity", "empty"),
    )
    await peers.delete_record("opportunity", "never-existed")
    await peers.publish_raw_records((("fabrikam", "account", "bad"), b"{}"))

    explain = ("explain", "--tenant", "fabrikam", "--address")
    addresses, why, why_not, invalid, unrelated = await asyncio.gather(
        run_matcher("addresses", "--tenant", "fabrikam", **peers.environment),
        run_matcher(*explain, ANN, **peers.environment),
        run_matcher(*explain, "second@fabrikam.com", "--record", "opportunity/o", **peers.environment),
        run_matcher(*explain, ANN, "--record", "account/bad", **peers.environment),
        run_matcher(*explain, "x@y.z", **peers.environment),
    )

    status, lines, _ = addresses
    assert status == 0
    assert [json.loads(line) for line in lines] == [
        {"tenant": "fabrikam", "type": "contact", "id": "c", "addresses": [ANN, "second@fabrikam.com"]},
        {"tenant": "fabrikam", "type": "opportunity", "id": "empty", "addresses": []},
        {"tenant": "fabrikam", "type": "opportunity", "id": "o", "addresses": [ANN]},
    ]
    stakeholder = "opportunity/o -> stakeholder [email]  opportunity.stakeholder"
    assert why[:2] == (
        0,
        [
            f"contact/c [addresses]  contact.address: {ANN} is an address of this contact",
            f"{stakeholder}: {ANN} is a stakeholder of this opportunity",
        ],
    )
    status, lines, _ = why_not
    assert status == 1
    assert f"{stakeholder}: no: {ANN}" in lines
    assert invalid[:2] == (1, ["there is no account/bad: its last message was refused"])
    assert unrelated[:2] == (1, ["x@y.z relates to no record of this tenant"])


async def test_bad_rules_file_stops_the_start_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('off = ["account.contacts"]')

    status, _, errors = await run_matcher(MATCHER_RULES_FILE=str(file))

    assert status == 2
    assert errors.startswith(
        f"bad setting MATCHER_RULES_FILE: {file}: there is no rule called account.contacts; the rules are "
    )


async def test_unavailable_kafka_is_reported_in_one_line() -> None:
    status, _, errors = await run_matcher("addresses", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")

    assert status == 1
    assert errors.splitlines()[-1].startswith("Kafka does not answer at 127.0.0.1:1")
