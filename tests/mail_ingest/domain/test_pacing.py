"""Work on very many items leaves most of the time to others."""

import pytest

from services.mail_ingest.domain.pacing import pause_after


def test_pause_is_nine_times_as_long_as_the_work_and_at_most_a_second() -> None:
    assert [pause_after(seconds) for seconds in (0.0, 0.1, 9.0)] == pytest.approx([0.0, 0.9, 1.0])
