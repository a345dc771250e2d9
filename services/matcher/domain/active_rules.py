"""The rules in force, indexed for the directory: by record type, by e-mail field, by dependency."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TypeAlias

from shared.records import LEAD

from .relations import CUSTOM, Hop, Relation, type_or_custom
from .rules import CONTACT_SECTION, RULE_TABLE, Ending, Rule, RulePath


class RecordProperty(Enum):
    """A property of a record that rules depend on besides its e-mail fields and relations."""

    EXISTENCE = "existence"
    """Whether the record exists."""
    SORT_POSITION = "sort position"
    """Its position among others, by `modified_on`."""


EXISTENCE, SORT_POSITION = RecordProperty
Dependency: TypeAlias = Ending | Relation | RecordProperty
"""A part of a record on which the addresses of a record can depend."""


@dataclass(frozen=True, slots=True, eq=False)
class RuleSuffix:
    """The remainder of a rule from one record of its path to the address.

    Attributes:
        first_dependency: the part of the record at its start that it reads first.
    """

    path: RulePath
    ending: Ending
    first_dependency: Dependency

    @classmethod
    def create(cls, path: RulePath, ending: Ending) -> "RuleSuffix":
        """The suffix of this path and ending."""
        first: Dependency
        if not path:
            first = ending
        elif path[0].backwards:
            first = EXISTENCE  # the ids are in fields of other records
        else:
            first = path[0].relation
        return cls(path, ending, first)


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """A backward hop, by which a record's own field makes it one of the records of another.

    Example: by its field *parent account* a contact becomes one of the contacts of an account.

    Attributes:
        suffix: the remainder of the rule from the member to the address.
    """

    hop: Hop
    suffix: RuleSuffix

    def depends_on(self, changed: Collection[Dependency]) -> bool:
        """True when a change of these parts of the member can change the addresses of the other record."""
        return (
            self.hop.relation in changed
            or self.suffix.first_dependency in changed
            or (self.hop.cap is not None and SORT_POSITION in changed)
        )


class ActiveRules:
    """The rules in force, with the lookups that the directory needs; each lookup is computed once.

    Args:
        table: the rows.
        added: further rows, for custom types.
        disabled: names of rows that are switched off.

    Attributes:
        rows: the rules in force, in the table's order.
        row_number: rule -> its index in `rows`.

    Raises:
        ValueError: two rows have one name, a name in `disabled` is unknown, or a path does not fit together.
    """

    def __init__(
        self, table: Iterable[Rule] = RULE_TABLE, added: Iterable[Rule] = (), disabled: Collection[str] = ()
    ) -> None:
        rows = (*table, *added)
        names = [rule.name for rule in rows]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {', '.join(duplicates)}")
        if unknown := sorted(set(disabled) - set(names)):
            raise ValueError(
                f"there is no rule called {', '.join(unknown)}; the rules are {', '.join(names)}"
            )
        self.rows = tuple(rule for rule in rows if rule.name not in disabled)
        self.row_number = {rule: number for number, rule in enumerate(self.rows)}
        for rule in self.rows:
            _check_path(rule)
        self._for_type: dict[str, tuple[Rule, ...]] = {}
        self._ending_at: dict[tuple[str, Ending], tuple[Rule, ...]] = {}
        self._relations_of: dict[str, tuple[Relation, ...]] = {}
        self._suffixes_at: dict[str, tuple[RuleSuffix, ...]] = {}
        self._memberships_of: dict[str, tuple[Membership, ...]] = {}

    def for_type(self, record_type: str) -> tuple[Rule, ...]:
        """The rules that give addresses to records of a type."""
        if record_type not in self._for_type:
            self._for_type[record_type] = tuple(
                rule for rule in self.rows if _includes(rule.type, record_type)
            )
        return self._for_type[record_type]

    def ending_at(self, record_type: str, ending: Ending) -> tuple[Rule, ...]:
        """The rules whose paths end in this field of records of a type."""
        at = record_type, ending
        if at not in self._ending_at:
            self._ending_at[at] = tuple(
                rule for rule in self.rows if rule.ending is ending and _includes(rule.end, record_type)
            )
        return self._ending_at[at]

    def relations_of(self, record_type: str) -> tuple[Relation, ...]:
        """The relations stored in records of a type that some rule follows, ordered by `link_index`."""
        if record_type not in self._relations_of:
            self._relations_of[record_type] = tuple(
                relation for relation in self.link_index if _includes(relation.source, record_type)
            )
        return self._relations_of[record_type]

    @cached_property
    def link_index(self) -> dict[Relation, int]:
        """Relation -> its index in `DirectoryEntry.links` of the records that store it.

        The relations of one custom type come after those of all custom types, so that each relation has
        the same index in all types.
        """
        followed = dict.fromkeys(hop.relation for rule in self.rows for hop in rule.path)
        counts: defaultdict[str, int] = defaultdict(int)
        index = {}
        for relation in sorted(followed, key=lambda relation: relation.source != CUSTOM):
            source, position = relation.source, counts[relation.source]
            is_one_custom_type = type_or_custom(source) != source
            index[relation] = counts[CUSTOM] + position if is_one_custom_type else position
            counts[source] += 1
        return index

    def suffixes_at(self, record_type: str) -> tuple[RuleSuffix, ...]:
        """The rule suffixes whose addresses a record of a type determines by its own fields.

        A suffix that starts with a backward hop is one of them only when it is a whole rule, which gives
        addresses only while the record exists. Otherwise the fields of other records determine it.
        """
        if record_type not in self._suffixes_at:
            own = {
                (path, ending): RuleSuffix.create(path, ending)
                for at_type, is_whole_rule, path, ending in self._all_suffixes
                if _includes(at_type, record_type) and (is_whole_rule or not path or not path[0].backwards)
            }
            self._suffixes_at[record_type] = tuple(own.values())
        return self._suffixes_at[record_type]

    def memberships_of(self, record_type: str) -> tuple[Membership, ...]:
        """The backward hops by which a record of a type becomes one of the records of another."""
        if record_type not in self._memberships_of:
            own = {
                (path, ending): Membership(path[0], RuleSuffix.create(path[1:], ending))
                for _, _, path, ending in self._all_suffixes
                if path and path[0].backwards and _includes(path[0].end, record_type)
            }
            self._memberships_of[record_type] = tuple(own.values())
        return self._memberships_of[record_type]

    @cached_property
    def _all_suffixes(self) -> list[tuple[str, bool, RulePath, Ending]]:
        """(type at its start, whether it is a whole rule, path, ending) of each suffix of each rule."""
        return [
            (at_type, position == 0, rule.path[position:], rule.ending)
            for rule in self.rows
            for position, at_type in enumerate(rule.types_along_path)
        ]


def _includes(declared_type: str, record_type: str) -> bool:
    """True when a declaration for `declared_type` holds for records of `record_type`."""
    return declared_type in {record_type, type_or_custom(record_type)}


def _check_path(rule: Rule) -> None:
    types = rule.types_along_path
    for start, hop in zip(types, rule.path, strict=False):
        if not _includes(hop.start, start):
            raise ValueError(f"rule {rule.name}: {hop.relation.name} does not start at {start}")
    if rule.ending is CONTACT_SECTION and types[-1] != LEAD:
        raise ValueError(f"rule {rule.name}: only a lead has a Contact section")
