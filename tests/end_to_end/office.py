"""Ann and Ben of Contoso, and a deal that both may read; Carla of Fabrikam is its contact."""

from dataclasses import dataclass, field
from typing import Any

from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import TrackedActivityKey
from shared.topics import TRACKED_ACTIVITIES

from .waiting import wait_until
from .world import User, World, suggestion_path

CARLA, EVE = "carla@fabrikam.example", "eve@adatum.example"
DEAL = ("opportunity", "renewal")


@dataclass
class Office:
    """Ann and Ben, and the version of the deal in the CRM."""

    world: World
    ann: User
    ben: User
    versions: int = field(default=1)

    async def publish_deal(self, **links: Any) -> None:
        """Publishes the next version of the deal."""
        self.versions += 1
        await self.world.publish_and_wait(
            {
                "type": DEAL[0],
                "id": DEAL[1],
                "name": "Fleet renewal",
                "version": self.versions,
                "contact_id": "carla",
                **links,
            }
        )

    async def send_to_ann(
        self, subject: str, sender: str = CARLA, text: str = "Hello Ann", **more: Any
    ) -> str:
        """Sends a mail to Ann. Returns its item."""
        [(_, _, item)] = await self.world.send_mail(sender, self.ann, subject=subject, text=text, **more)
        return item

    async def wait_for_state(self, user: User, subject: str, state: str | None) -> None:
        """Waits until the user's timeline has the suggestion in this state; None: until it is not there."""

        async def has_state() -> bool:
            return dict((await user.tiles(*DEAL))[0]).get(subject) == state

        await wait_until(has_state, failure=lambda: f"the state of {subject} is not {state}")

    async def wait_until_tracked(self, subject: str) -> dict[str, Any]:
        """Waits until Ann and Ben see the activity as tracked on the deal. Returns its tile."""
        for user in (self.ann, self.ben):

            async def sees_it(user: User = user) -> bool:
                return subject in (await user.tiles(*DEAL))[1]

            await wait_until(sees_it, failure=lambda: f"{subject} was not tracked")
        [tile] = [
            tile
            for tile in (await self.ben.timeline(*DEAL))["tracked"]
            if tile["activity"]["subject"] == subject
        ]
        return dict(tile)

    async def track(self, item: str, **body: Any) -> int:
        return (await self.ann.request("POST", suggestion_path(*DEAL, item, "track"), json=body)).status_code

    async def published(self, activity: str) -> list[ActivityTracked | ActivityUntracked | None]:
        """All that was ever published about a tracked activity; None for a tombstone."""
        await self.world.wait_until_idle()
        await self.world.topics.catch_up()
        return self.world.topics.values(TRACKED_ACTIVITIES, self.key(activity))

    def key(self, activity: str) -> TrackedActivityKey:
        """The key of a tracked activity."""
        return TrackedActivityKey(self.world.tenant.id, activity)
