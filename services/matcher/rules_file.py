"""The TOML file that switches rules off and adds rules for custom types; docs/matching.md explains it."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.records import ACCOUNT, CONTACT, RECORD_MODELS, Id

from .domain.active_rules import ActiveRules
from .domain.relations import NEXT_HOPS, Hop, lookup
from .domain.rules import ADDRESSES, EMAIL, RULE_TABLE, Rule

RECORD_TYPES = {"account": ACCOUNT, "contact": CONTACT}
ENDINGS = {"email": EMAIL, "addresses": ADDRESSES}


class RulesFileError(Exception):
    """The rules file cannot be used; the message has the file, the position and the reason."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AddedRule(_StrictModel):
    """A row for one custom type.

    Attributes:
        path: begins with a lookup field of the type, then the names of `NEXT_HOPS`.
        to: the type of the records that this lookup field points at.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", max_length=100)
    type: Id
    path: tuple[str, ...] = Field((), max_length=4)
    to: Literal["account", "contact"] | None = None
    ending: Literal["email", "addresses"]
    phrase: str = Field(min_length=1, max_length=200)

    def to_rule(self) -> Rule:
        """The row of the table; raises ValueError."""
        if self.type in RECORD_MODELS:
            raise ValueError(
                f"rule {self.name}: rules can be added for custom types only, {self.type} is built in"
            )
        if bool(self.path) != bool(self.to):
            raise ValueError(
                f"rule {self.name}: give `path`, which begins with a lookup field, and `to`, "
                "which it points at (account or contact), or neither"
            )
        return Rule(self.name, self.type, tuple(self._hops()), ENDINGS[self.ending], self.phrase)

    def _hops(self) -> list[Hop]:
        if self.to is None:
            return []
        field, *steps = self.path
        hops = [lookup(RECORD_TYPES[self.to], field, self.type)]
        for step in steps:
            here = hops[-1].end
            next_hops = NEXT_HOPS.get(here, {})
            if step not in next_hops:
                raise ValueError(
                    f"rule {self.name}: from {here} there is no `{step}`, only {', '.join(next_hops)}"
                )
            hops.append(next_hops[step])
        return hops


class _RulesFile(_StrictModel):
    off: tuple[str, ...] = ()
    rule: tuple[_AddedRule, ...] = ()


def load_rules(file: Path | None) -> ActiveRules:
    """The rule table, changed as the file describes.

    Raises:
        RulesFileError: the file cannot be read, is not TOML of this form, or its rules do not fit together.
    """
    if file is None:
        return ActiveRules()
    try:
        content = _RulesFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        return ActiveRules(RULE_TABLE, [added.to_rule() for added in content.rule], content.off)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        position = ".".join(str(part) for part in first["loc"])
        raise RulesFileError(f"{file}: {position}: {first['msg']}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not TOML, or the rules do not fit
        raise RulesFileError(f"{file}: {error}") from None
