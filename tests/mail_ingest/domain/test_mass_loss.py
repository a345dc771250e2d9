"""Many items that are not found at once are not believed to be gone."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.mail_ingest.domain.mass_loss import (
    CONFIRMATION_PAUSE,
    held_back,
    is_held_back,
    is_mass_loss,
    was_held_back,
)
from services.mail_ingest.domain.stuck_items import StuckItem
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, NOW

ITEM = (ActivityKind.EMAIL, "i")


@pytest.mark.parametrize(
    "lost, live, is_mass",
    [(20, 20, False), (21, 21, True), (21, 42, True), (21, 43, False), (500, 1000, True), (499, 1000, False)],
)
def test_more_than_20_items_and_half_of_all_are_a_mass_loss(lost: int, live: int, is_mass: bool) -> None:
    assert is_mass_loss(lost, live) is is_mass


def test_item_is_gone_when_it_is_not_found_again_after_the_pause() -> None:
    stuck = held_back(None, ANN, ITEM, NOW, 1.0)

    assert timedelta(minutes=1) < CONFIRMATION_PAUSE <= stuck.retry_at - NOW
    before = stuck.retry_at - timedelta(seconds=1)
    assert (is_held_back(stuck, before), was_held_back(stuck, before)) == (True, False)
    assert (is_held_back(stuck, stuck.retry_at), was_held_back(stuck, stuck.retry_at)) == (False, True)


@pytest.mark.parametrize(
    "stuck", [None, replace(held_back(None, ANN, ITEM, NOW, 0.0), reason="graph_500", retry_at=NOW)]
)
def test_item_that_was_never_held_back_is_as_before(stuck: StuckItem | None) -> None:
    assert (is_held_back(stuck, NOW), was_held_back(stuck, NOW)) == (False, False)
