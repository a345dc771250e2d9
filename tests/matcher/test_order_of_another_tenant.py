"""A new order of one tenant's records says nothing of another tenant's activities."""

from datetime import timedelta

from services.matcher.domain.window import Window

from .worlds import NOW, TENANT, World, activity

ANN = "ann@fabrikam.com"


def test_a_new_order_of_another_tenants_records_touches_nothing() -> None:
    world = World()
    world.put("contact", "ann", emails=ANN)
    for number in range(1000):
        world.put("opportunity", f"o{number:04}", contact_id="ann", modified_on=NOW + timedelta(days=1))
    window = Window(world.matcher)
    window.take((TENANT, "ann", "item-1"), activity(("from", ANN)), 7, NOW)
    window.confirmed(window.words(100))
    assert len(window.truncated) == 1

    assert window.touch("another-tenant", (), reordered=True) == 0
    assert window.touch(TENANT, (), reordered=True) == 1
