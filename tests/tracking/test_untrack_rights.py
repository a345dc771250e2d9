"""Who may take whose entry off a record, over HTTP and on the real MongoDB."""

from .conftest import World
from .worlds import ANN, BEN, RENEWAL, email, tracked


async def test_a_user_without_the_role_takes_off_nobody_else_s_entry(world: World) -> None:
    await world.record(RENEWAL, "Fleet renewal", ("*",))
    shared = tracked(email(), (ANN, RENEWAL))
    await world.store.tracked.put(shared, None)
    path = f"/records/opportunity/renewal/tracked/{shared.id}"

    for query in ({"by": ANN.oid}, {}):
        assert (await world.ask(BEN, "DELETE", path, params=query)).status_code == 404

    [tile] = (await world.timeline(BEN, RENEWAL))["tracked"]
    assert [entry["by"] for entry in tile["regarding"]] == [ANN.oid]
    assert (await world.ask(ANN, "DELETE", path, params={"by": ANN.oid})).status_code == 204
