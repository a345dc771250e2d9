from dataclasses import replace
from datetime import timedelta

from services.tracking.domain.track_request import NO_ANSWER, TrackRequestState, open_request
from tests.tracking.worlds import ANN, NOW, RENEWAL, email, regarding

TEN_MINUTES = timedelta(minutes=10)


def test_request_is_open_until_its_deadline_and_failed_after_it() -> None:
    [entry] = regarding((ANN, RENEWAL))
    request = open_request("r", email(), entry, TEN_MINUTES)
    assert request.outcome(NOW + timedelta(minutes=9)) == (TrackRequestState.OPEN, None)
    assert request.outcome(NOW + TEN_MINUTES) == (TrackRequestState.FAILED, NO_ANSWER)


def test_closed_request_is_never_open() -> None:
    [entry] = regarding((ANN, RENEWAL))
    request = open_request("r", email(), entry, TEN_MINUTES)
    assert not replace(request, state=TrackRequestState.DONE).is_open(NOW)
