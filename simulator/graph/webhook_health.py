"""How Graph judges a webhook by the times of its answers: healthy, slow, or one whose notifications it drops.

The texts and numbers are those of the documentation of 2026; older ones had other numbers.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The numbers of delivery; durations are in seconds.

    Attributes:
        first_timeout: of the first attempt; an answer after it is late.
        retry_timeout: of all further attempts; an answer after it is very late.
        retry_period: after it Graph gives a notification up.
        window: the time over which answers are judged.
        min_answers: in the window; fewer are not judged.
        slow_share: of late answers, beyond which a webhook is slow.
        slow_delay: of new notifications to a slow webhook, and the pause between its probes.
        drop_share: of very late answers, beyond which notifications are dropped.
        drop_period: how long they are dropped before probes are sent.
        probes: notifications that are sent at once to judge a webhook again.
    """

    first_timeout: float = 3.0
    retry_timeout: float = 10.0
    retry_period: float = 4 * 3600.0
    window: float = 600.0
    min_answers: int = 100
    slow_share: float = 0.10
    slow_delay: float = 600.0
    drop_share: float = 0.15
    drop_period: float = 600.0
    probes: int = 10

    def faster(self, factor: float) -> "DeliveryRules":
        """The rules on a clock that runs faster by a factor."""
        durations = (
            "first_timeout",
            "retry_timeout",
            "retry_period",
            "window",
            "slow_delay",
            "drop_period",
        )
        return replace(self, **{name: getattr(self, name) / factor for name in durations})


class State(StrEnum):
    """What Graph does with new notifications for a webhook."""

    HEALTHY = "healthy"  # it sends them
    SLOW = "slow"  # it delays them
    DROP = "drop"  # it drops them


class WebhookHealth:
    """The state of one webhook. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.state = State.HEALTHY
        self._since = 0.0
        self._probes = 0
        self._answers: deque[tuple[float, float]] = deque()

    def plan(self, rules: DeliveryRules, now: float) -> float | None:
        """The delay of a new notification; None: it is dropped."""
        if self.state is State.HEALTHY:
            return 0.0
        if self._is_probing(rules, now) and self._probes < rules.probes:
            self._probes += 1
            return 0.0
        return rules.slow_delay if self.state is State.SLOW else None

    def record(self, rules: DeliveryRules, now: float, seconds: float) -> None:
        """Record an answer that took so long, or a time-out; it may change the state."""
        if self.state is not State.HEALTHY and not self._is_probing(rules, now):
            return
        self._answers.append((now, seconds))
        while self._answers[0][0] < now - rules.window:
            self._answers.popleft()
        needed = rules.min_answers if self.state is State.HEALTHY else rules.probes
        if len(self._answers) < needed:
            return
        judged = self._judge(rules)
        if judged is not State.HEALTHY or self.state is not State.HEALTHY:
            self.state, self._since, self._probes = judged, now, 0
            self._answers.clear()

    def _is_probing(self, rules: DeliveryRules, now: float) -> bool:
        pause = rules.slow_delay if self.state is State.SLOW else rules.drop_period
        return now - self._since >= pause

    def _judge(self, rules: DeliveryRules) -> State:
        if self._share(rules.retry_timeout) > rules.drop_share:
            return State.DROP
        return State.SLOW if self._share(rules.first_timeout) > rules.slow_share else State.HEALTHY

    def _share(self, limit: float) -> float:
        return sum(seconds >= limit for _, seconds in self._answers) / len(self._answers)
