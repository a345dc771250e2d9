"""A restore on a log that a matcher of a smaller epoch has written into, on the real Kafka."""

from .bus import Bus, a_matcher
from .test_service import ANN, mail, until_quiet


async def test_a_restore_overrules_what_a_smaller_epoch_left_in_the_log(bus: Bus) -> None:
    """Readers ignore the smaller epoch. A restore that takes its message for theirs would publish nothing."""
    async with a_matcher(bus.environment) as matcher:
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN))
        await bus.until({"m": ["ann"]})
        with_ann_alone = bus.log[-1].value
        await bus.put("opportunity", "o", contact_id="ann")
        await bus.until({"m": ["ann", "o"]})
        await until_quiet(matcher)

    await bus.delete("opportunity", "o")
    await bus.interfere("m", with_ann_alone, epoch=1)

    async with a_matcher(bus.environment):
        await bus.until({"m": ["ann"]})
