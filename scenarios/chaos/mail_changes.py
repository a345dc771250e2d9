"""Changes of e-mails, chosen by a seeded generator: arrivals, edits, moves and returns, deletions, drafts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from simulator.control.client import TenantControl

THREE_DAYS = timedelta(days=3)
SENSITIVITIES = ("normal", "normal", "normal", "personal", "private", "confidential")
WORDS = (
    "renewal",
    "Angebot",
    "déjà vu",
    "東京",
    "🚀 launch",
    "Fwd: RE: numbers",
    "\u202bשלום\u202c",
    "0",
    "<b>bold</b>",
    "a\tb",
)
OUTSIDERS = tuple(
    {"name": name, "address": address}
    for name, address in (
        ("Carla Núñez", "carla@fabrikam.example"),
        ("", "no-name@fabrikam.example"),
        ("Dora", "Dora.MIXED@Fabrikam.Example"),
        ('O\'Hara, "Pat"', "pat+crm@northwind.example"),
        ("李雷", "lilei@bücher.example"),
        ("Exchange", "/O=EXCHANGELABS/OU=EXCHANGE/CN=RECIPIENTS/CN=1234"),
    )
)
LIVE_FOLDERS, DEAD_FOLDERS = ("archive", "inbox", "conversationhistory"), ("junkemail", "deleteditems")


@dataclass(slots=True)
class KnownMessage:
    """A copy of an e-mail that changes may name."""

    mailbox: str
    item: str


@dataclass
class MailChanges:
    """The e-mails of the mailboxes, and what may happen to them.

    Args:
        tenant: of the simulator.
        random: makes all choices.
        users: object id -> address.
        lifetime: how long an e-mail that is about to expire may still live.
    """

    tenant: TenantControl
    random: Random
    users: dict[str, str]
    lifetime: tuple[float, float]
    live: list[KnownMessage] = field(default_factory=list)
    dead: list[KnownMessage] = field(default_factory=list)
    drafts: list[KnownMessage] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    """Mailbox -> its own folder below the root."""
    dead_folders: set[str] = field(default_factory=set)
    """Mailboxes whose own folder is below Deleted Items."""
    number: int = 0

    def table(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        """Name of a change -> its weight, and the change; it returns False when it is impossible now."""
        return {
            "mail arrives": (22, self.arrive),
            "mail sent": (10, self.send),
            "mail read": (6, self.read),
            "mail categorised": (4, self.categorise),
            "mail edited": (4, self.edit),
            "mail moved": (5, self.move),
            "mail to Junk or Deleted": (7, self.bury),
            "mail restored": (6, self.restore),
            "mail deleted for good": (4, self.delete),
            "mail about to expire": (1, self.put_expiring),
            "draft written": (3, self.write_draft),
            "draft sent": (2, self.send_draft),
            "draft deleted": (1, self.delete_draft),
            "folder deleted or restored": (1, self.move_folder),
        }

    def create_folders(self) -> None:
        """Give each mailbox a folder of its own, which moves with its messages."""
        for mailbox in self.users:
            created = self.tenant.do("/folders", mailbox=mailbox, name="Customers")
            self.folders[mailbox] = created["id"]

    def any_item(self) -> KnownMessage | None:
        """Some message that is live, as far as the changes have made it so."""
        return self._choose(self.live)

    def change_item(self, message: KnownMessage) -> None:
        """Edit, bury or delete this message, which is live."""
        match self.random.choice(["edit", "bury", "delete"]):
            case "edit":
                self._edit(message)
            case "bury":
                self._bury(message)
            case _:
                self._delete(message)

    # arrivals

    def arrive(self) -> bool:
        copies = self._send(self._outsider(), self._some_users(3))
        self._know(copies)
        return True

    def send(self) -> bool:
        sender = self._user()
        others = [self._outsider(), *self._some_users(2)]
        self._know(self._send({"name": "", "address": self.users[sender]}, others))
        return True

    def put_expiring(self) -> bool:
        """An e-mail that is almost three days old, of which no notification may have come."""
        seconds = self.random.uniform(*self.lifetime)
        received = datetime.now(UTC) - THREE_DAYS + timedelta(seconds=seconds)
        self._put(self._user(), received=received.isoformat(), sent=received.isoformat())
        return True

    def write_draft(self) -> bool:
        mailbox = self._user()
        self.drafts.append(self._put(mailbox, draft=True))
        return True

    # changes

    def read(self) -> bool:
        return self._change(self.live, is_read=self.random.random() < 0.7)

    def categorise(self) -> bool:
        return self._change(self.live, categories=self.random.sample(["Red", "Blue", "Key account"], 2))

    def edit(self) -> bool:
        message = self._choose(self.random.choice([self.live, self.live, self.drafts]))
        if message is None:
            return False
        self._edit(message)
        return True

    def move(self) -> bool:
        message = self._choose(self.live)
        if message is None:
            return False
        own = [] if message.mailbox in self.dead_folders else [self.folders[message.mailbox]]
        folder = self.random.choice([*LIVE_FOLDERS, *own])
        self.tenant.move(message.mailbox, message.item, folder)
        return True

    def bury(self) -> bool:
        message = self._choose(self.live)
        if message is None:
            return False
        self._bury(message)
        return True

    def restore(self) -> bool:
        message = self._take(self.dead)
        if message is None:
            return False
        self.tenant.move(message.mailbox, message.item, self.random.choice(LIVE_FOLDERS))
        self.live.append(message)
        return True

    def delete(self) -> bool:
        message = self._choose(self.random.choice([self.live, self.dead]))
        if message is None:
            return False
        self._delete(message)
        return True

    def send_draft(self) -> bool:
        message = self._take(self.drafts)
        if message is None:
            return False
        self.tenant.do("/messages/change", mailbox=message.mailbox, id=message.item, send=True)
        self.live.append(message)
        return True

    def delete_draft(self) -> bool:
        message = self._take(self.drafts)
        if message is None:
            return False
        self.tenant.delete(message.mailbox, message.item, hard=True)
        return True

    def move_folder(self) -> bool:
        """Move a folder with its messages below Deleted Items, or back; Graph notifies of none of them."""
        mailbox = self._user()
        is_back = mailbox in self.dead_folders
        parent = "msgfolderroot" if is_back else "deleteditems"
        self.tenant.do("/folders/move", mailbox=mailbox, folder=self.folders[mailbox], parent=parent)
        self.dead_folders ^= {mailbox}
        return True

    # parts

    def _edit(self, message: KnownMessage) -> None:
        self.tenant.do("/messages/change", mailbox=message.mailbox, id=message.item, subject=self._subject())

    def _bury(self, message: KnownMessage) -> None:
        self.live.remove(message)
        self.tenant.move(message.mailbox, message.item, self.random.choice(DEAD_FOLDERS))
        self.dead.append(message)

    def _delete(self, message: KnownMessage) -> None:
        (self.live if message in self.live else self.dead).remove(message)
        self.tenant.delete(message.mailbox, message.item, hard=True)

    def _send(self, sender: dict[str, str], to: list[Any]) -> list[dict[str, Any]]:
        copies_to = self._some_users(1) if self.random.random() < 0.3 else []
        sent = self.tenant.send(
            sender,
            to,
            cc=copies_to,
            bcc=[self._outsider()],
            subject=self._subject(),
            text="Hello",
            sensitivity=self.random.choice(SENSITIVITIES),
        )
        copies: list[dict[str, Any]] = sent["copies"]
        return copies

    def _put(self, mailbox: str, **message: Any) -> KnownMessage:
        body = {"from": self._outsider(), "to": [self.users[mailbox]], "subject": self._subject(), **message}
        created = self.tenant.put(mailbox, **body)
        return KnownMessage(mailbox, created["id"])

    def _know(self, copies: list[dict[str, Any]]) -> None:
        self.live += [KnownMessage(copy["mailbox"], copy["id"]) for copy in copies]

    def _change(self, messages: list[KnownMessage], **changes: Any) -> bool:
        message = self._choose(messages)
        if message is None:
            return False
        self.tenant.do("/messages/change", mailbox=message.mailbox, id=message.item, **changes)
        return True

    def _choose(self, messages: list[KnownMessage]) -> KnownMessage | None:
        """A message, mostly one of the latest: what just changed changes again."""
        recent = messages[-20:] if self.random.random() < 0.5 else messages
        return self.random.choice(recent) if recent else None

    def _take(self, messages: list[KnownMessage]) -> KnownMessage | None:
        message = self._choose(messages)
        if message is not None:
            messages.remove(message)
        return message

    def _user(self) -> str:
        return self.random.choice(list(self.users))

    def _some_users(self, most: int) -> list[str]:
        number = min(self.random.randint(1, most), len(self.users))
        return [self.users[each] for each in self.random.sample(list(self.users), number)]

    def _outsider(self) -> dict[str, str]:
        return self.random.choice(OUTSIDERS)

    def _subject(self) -> str:
        self.number += 1
        return "" if self.random.random() < 0.02 else f"{self.random.choice(WORDS)} {self.number}"
