"""The settings of the matcher, and the file that changes the rule table."""

import json
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.records import ACCOUNT, CONTACT, MODELS, Id
from shared.settings import ServiceSettings

from .domain.relations import ONWARD, Hop, lookup
from .domain.rules import ADDRESSES, EMAIL, TABLE, Rule, Rules


class MatcherSettings(ServiceSettings):
    """What the matcher has beside every service's settings."""

    port: int = Field(
        18082, ge=0, le=65535, description="Where its HTTP interface listens; 0: any free port."
    )
    rules_file: Path | None = Field(
        None,
        description="TOML or JSON that adds rules for custom types and switches rules off; docs/matching.md.",
    )
    quiet: timedelta = Field(
        timedelta(milliseconds=50),
        ge=timedelta(0),
        description="Record changes that come closer together than this are computed together.",
    )
    at_most: timedelta = Field(
        timedelta(seconds=1),
        ge=timedelta(0),
        description="A record change waits for others no longer than this.",
    )
    check_every: timedelta = Field(
        timedelta(minutes=1),
        gt=timedelta(0),
        description="How often the end of `matches` is compared with what this replica wrote.",
    )
    takeover: bool = Field(
        True,
        description="Off, for counting deliveries alone: begin at the group's commit, without reading the tables.",
    )


class BadRules(Exception):
    """The rules file cannot be used; the message says where and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AddedRule(_Strict):
    """A row for one custom type: `path` begins with one of its lookup fields."""

    name: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", max_length=100)
    type: Id
    path: tuple[str, ...] = Field((), max_length=4)
    to: Literal["account", "contact"] | None = None
    ending: Literal["email", "addresses"]
    phrase: str = Field(min_length=1, max_length=200)

    def rule(self) -> Rule:
        if self.type in MODELS:
            raise ValueError(
                f"rule {self.name}: rules can be added for custom types only, {self.type} is none"
            )
        if bool(self.path) != bool(self.to):
            raise ValueError(
                f"rule {self.name}: give `path`, which begins with a lookup field, and `to`, which it points at (account or contact), or neither"
            )
        hops: list[Hop] = []
        if self.to:
            hops.append(lookup(ACCOUNT if self.to == "account" else CONTACT, self.path[0], self.type))
        for step in self.path[1:]:
            onward = ONWARD.get(hops[-1].end, {})
            if step not in onward:
                raise ValueError(
                    f"rule {self.name}: from {hops[-1].end} there is no `{step}`, only {', '.join(onward)}"
                )
            hops.append(onward[step])
        return Rule(
            self.name, self.type, tuple(hops), EMAIL if self.ending == "email" else ADDRESSES, self.phrase
        )


class _RulesFile(_Strict):
    off: tuple[str, ...] = ()
    rule: tuple[_AddedRule, ...] = ()


def load_rules(file: Path | None) -> Rules:
    """The rule table, changed as the file says; raises BadRules."""
    if file is None:
        return Rules()
    try:
        text = file.read_text(encoding="utf-8")
        content = _RulesFile.model_validate(
            json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        )
        return Rules(TABLE, [added.rule() for added in content.rule], content.off)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadRules(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (
        OSError,
        ValueError,
    ) as bad:  # not there; not UTF-8, TOML or JSON; or rules that do not fit together
        raise BadRules(f"{file}: {bad}") from None
