"""The faults of Graph and of its authority: one table, from which a seeded generator chooses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulator.control.client import Simulator, TenantControl

from .mail_changes import MailChanges

DELIVERY: dict[str, Any] = {"loss": 0.2, "duplicates": 0.2, "reorder": 0.3, "delay": 0.5}
"""Of all notifications."""
PAGES = {"short": 0.2, "empty": 0.1}
"""Of all pages of collections; each goes on with a next link."""

NO_ANSWERS: tuple[dict[str, Any], ...] = (
    {"status": 200},
    {"status": 200, "body": {}},
    {"status": 200, "body": "null"},
    {"status": 200, "body": "<html><body>Sign in</body></html>"},
    {"status": 200, "body": {"@odata.context": "…"}},
    {"status": 204},
    {"status": 302, "headers": {"Location": "https://login.example/"}},
    {"status": 404, "body": "<html><body>Not found</body></html>"},
)
"""Responses that show nothing: empty, of another form than the request's, or a redirection."""
ITEM_REFUSALS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 400, "code": "ErrorInvalidIdMalformed"},
    {"status": 410, "code": "Gone"},
    {"status": 403, "code": "ErrorAccessDenied"},
    {"status": 404, "code": "ErrorFolderNotFound"},
    {"status": 404, "code": "ResourceNotFound"},
    {"status": 404, "body": "<html><body>Not found</body></html>"},
)
"""Refusals of an item that do not mean that it is gone."""
AUTHORITY_SHARE = 4
"""An authority that is away stops all mailboxes: it is away for a shorter time than a mailbox."""
SEVERAL = 3
"""Different answers or refusals of one fault, one after another."""
BY_ID, COLLECTIONS = ("message.by_id", "event.by_id"), ("messages.window", "calendar_view")


@dataclass
class InjectedFaults:
    """Brings faults about.

    Args:
        tenant: of the simulator.
        random: makes all choices.
        mailboxes: of the tenant.
        mail: a fault of an item chooses among its messages.
        short, long: seconds that a fault of a mailbox and of an item last at most.
    """

    tenant: TenantControl
    random: Random
    mailboxes: list[str]
    mail: MailChanges
    short: float
    long: float
    injected: dict[str, int] = field(default_factory=dict)
    """Kind of fault -> how often."""
    answered: dict[str, int] = field(default_factory=dict)
    """Kind of a fault that is no response -> what it hit."""

    @property
    def simulator(self) -> Simulator:
        """The simulator of the tenant."""
        return self.tenant.simulator

    def table(self) -> dict[str, Callable[[str], None]]:
        """Name of a kind of fault -> the fault."""
        return {
            "mailbox throttled": self.throttle_mailbox,
            "all throttled": self.throttle_all,
            "mailbox answers 503": self.fail_mailbox,
            "mailbox refused": self.refuse_mailbox,
            "token of a mailbox refused": self.refuse_token,
            "item fails for long": self.fail_item,
            "broken answers for items": self.break_items,
            "broken answers for a window": self.break_window,
            "broken answers for folders and users": self.break_profile,
            "subscriptions refused": self.refuse_subscriptions,
            "subscriptions removed": self.remove_subscriptions,
            "subscriptions forgotten": self.forget_subscriptions,
            "notifications missed": self.announce_missed,
            "authority away": self.close_authority,
        }

    def schedule(self, changes: int, faults: int) -> dict[int, list[str]]:
        """Number of a change -> the faults after it: all kinds, in a new order each time."""
        scheduled: dict[int, list[str]] = {}
        order = self._order()
        for number in range(faults):
            after = changes * (number + 1) // (faults + 1)
            scheduled.setdefault(after, []).append(next(order))
        return scheduled

    def inject(self, name: str) -> None:
        """Bring a fault about."""
        self.injected[name] = self.injected.get(name, 0) + 1
        self.table()[name](name)

    # kinds

    def throttle_mailbox(self, label: str) -> None:
        wait = self.random.choice([1, 1, 2, 5, "0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
        self._fail(label, 429, mailbox=self._mailbox(), retry_after=wait, seconds=self._short())

    def throttle_all(self, label: str) -> None:
        self._fail(label, 429, rate=0.2, count=self.random.randint(3, 20), retry_after=1)

    def fail_mailbox(self, label: str) -> None:
        status = self.random.choice([500, 502, 503, 504])
        self._fail(label, status, mailbox=self._mailbox(), seconds=self._short())

    def refuse_mailbox(self, label: str) -> None:
        status, code = self.random.choice([(403, "ErrorAccessDenied"), (404, "MailboxNotEnabledForRESTAPI")])
        self._fail(label, status, code=code, mailbox=self._mailbox(), seconds=self._short())

    def refuse_token(self, label: str) -> None:
        mailbox, count = self._mailbox(), self.random.randint(1, 3)
        self._fail(label, 401, code="InvalidAuthenticationToken", mailbox=mailbox, count=count)

    def fail_item(self, label: str) -> None:
        """A single item fails, and changes meanwhile."""
        message = self.mail.any_item()
        if message is not None:
            about: dict[str, Any] = {"mailbox": message.mailbox, "item": message.item}
            about["seconds"] = self.random.uniform(0.5, 1) * self.long
            first, *others = self.random.sample(ITEM_REFUSALS, SEVERAL)
            for refusal in others:
                self._fail(label, **refusal, **about, count=2)
            self._fail(label, **first, **about)
            self.mail.change_item(message)

    def break_items(self, label: str) -> None:
        kind = self.random.choice(BY_ID)
        for answer in self.random.sample(NO_ANSWERS, SEVERAL):
            self._fail(label, **answer, kind=kind, rate=0.5, count=self.random.randint(1, 4))

    def break_window(self, label: str) -> None:
        kind, mailbox = self.random.choice(COLLECTIONS), self._mailbox()
        for answer in self.random.sample(NO_ANSWERS, SEVERAL):
            self._fail(label, **answer, kind=kind, mailbox=mailbox, count=self.random.randint(1, 3))

    def break_profile(self, label: str) -> None:
        kind = self.random.choice(["folders", "folder", "user"])
        for answer in self.random.sample(NO_ANSWERS, SEVERAL):
            self._fail(label, **answer, kind=kind, count=self.random.randint(1, 3))

    def refuse_subscriptions(self, label: str) -> None:
        """Graph removes the subscriptions of a mailbox, and refuses new ones for a time."""
        mailbox = self._mailbox()
        code, status = self.random.choice([("ExtensionError", 401), ("ErrorAccessDenied", 403)])
        for kind in ("subscribe", "renew"):
            self._fail(label, status, code=code, kind=kind, mailbox=mailbox, seconds=self._short())
        self.simulator.lifecycle("subscriptionRemoved", mailbox=mailbox)

    def remove_subscriptions(self, label: str) -> None:
        self._count(label, self.simulator.lifecycle("subscriptionRemoved", mailbox=self._mailbox()))

    def forget_subscriptions(self, label: str) -> None:
        """Without a notification of it: only the windows find what changes from now on."""
        self._count(label, self.simulator.forget_subscriptions(mailbox=self._mailbox()))

    def announce_missed(self, label: str) -> None:
        event = self.random.choice(["missed", "missed", "reauthorizationRequired"])
        self._count(label, self.simulator.lifecycle(event, mailbox=self._mailbox()))

    def close_authority(self, label: str) -> None:
        """Graph wants new tokens, and there are none for a time."""
        answer: dict[str, Any] = self.random.choice(
            [{"status": 503}, {"status": 429, "retry_after": 2}, {"status": 200, "body": "<html></html>"}]
        )
        self._fail(label, **answer, kind="token", seconds=self._short() / AUTHORITY_SHARE)
        self.tenant.revoke_tokens()

    # parts

    def _order(self) -> Iterator[str]:
        while True:
            names = list(self.table())
            self.random.shuffle(names)
            yield from names

    def _fail(self, label: str, status: int, **selection: Any) -> None:
        self.simulator.fault(status, label=label, **selection)

    def _count(self, label: str, hits: int) -> None:
        self.answered[label] = self.answered.get(label, 0) + hits

    def _mailbox(self) -> str:
        return self.random.choice(self.mailboxes)

    def _short(self) -> float:
        return self.random.uniform(0.3, 1) * self.short
