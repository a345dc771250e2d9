"""The settings of the matcher."""

import pytest
from pydantic import ValidationError

from services.matcher.settings import MatcherSettings


@pytest.mark.parametrize(
    "setting",
    [{"record_quiet_period": "-PT1S"}, {"foreign_write_check_every": "PT0S"}, {"port": "70000"}],
)
def test_setting_out_of_range_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(setting))):
        MatcherSettings.model_validate(setting)
