"""Revisions rise, whatever the clock of the replica that hands them out."""

from services.tracking.domain.activity import track, untrack

from .worlds import ACCOUNT, ANN, BEN, DAY, NOW, RENEWAL, asks, content, email, tracked


def test_the_revision_rises_though_the_clock_was_set_back() -> None:
    first = tracked(email(), (ANN, RENEWAL))
    more = track(first, asks((BEN, ACCOUNT)), content(email()), NOW - DAY)
    fewer = untrack(more, ACCOUNT, BEN.oid, NOW - DAY)
    assert fewer
    none = untrack(fewer, RENEWAL, ANN.oid, NOW - DAY)
    assert none
    assert [each.revision - first.revision for each in (more, fewer, none)] == [1, 2, 3]
