"""A webhook that answers late is slow, or its notifications are dropped, until it answers probes in time."""

from simulator.control.client import Simulator, TenantControl
from simulator.graph.webhook_health import DeliveryRules, State, WebhookHealth
from tests.simulator.conftest import Graph, Webhook, until
from tests.simulator.test_notifications import subscribe

RULES = DeliveryRules(min_answers=10, probes=2)
MINUTE = 60.0


def answered(health: WebhookHealth, now: float, *seconds: float) -> State:
    for each in seconds:
        health.record(RULES, now, each)
    return health.state


def test_webhook_is_slow_by_more_than_a_tenth_of_late_answers() -> None:
    health = WebhookHealth()
    assert answered(health, 0, *[0.1] * 9, 3.0) is State.HEALTHY  # exactly a tenth
    assert health.plan(RULES, 0) == 0
    assert answered(health, 0, 3.0) is State.SLOW
    assert health.plan(RULES, 1) == 600


def test_few_and_old_answers_are_not_judged() -> None:
    health = WebhookHealth()
    assert answered(health, 0, *[5.0] * 9) is State.HEALTHY
    assert answered(health, 11 * MINUTE, *[0.1] * 10) is State.HEALTHY


def test_slow_webhook_is_healthy_again_by_its_probes() -> None:
    health = WebhookHealth()
    answered(health, 0, *[4.0] * 10)
    assert answered(health, MINUTE, *[0.1] * 20) is State.SLOW  # only probes count now
    delays = [health.plan(RULES, 10 * MINUTE) for _ in range(3)]
    assert delays == [0, 0, 600]
    assert answered(health, 10 * MINUTE, 0.1, 4.0) is State.SLOW
    assert health.plan(RULES, 11 * MINUTE) == 600
    assert answered(health, 21 * MINUTE, 0.1, 0.1) is State.HEALTHY
    assert health.plan(RULES, 21 * MINUTE) == 0


def test_notifications_of_a_very_late_webhook_are_dropped() -> None:
    health = WebhookHealth()
    assert answered(health, 0, *[0.1] * 8, 10.0, 10.0) is State.DROP
    assert health.plan(RULES, 9 * MINUTE) is None
    assert [health.plan(RULES, 10 * MINUTE) for _ in range(3)] == [0, 0, None]
    assert answered(health, 10 * MINUTE, 10.0, 10.0) is State.DROP
    assert answered(health, 20 * MINUTE, 4.0, 4.0) is State.SLOW
    assert answered(health, 30 * MINUTE, 0.1, 0.1) is State.HEALTHY


def test_rules_have_a_faster_clock() -> None:
    rules = DeliveryRules().faster(60)
    assert (rules.first_timeout, rules.window, rules.retry_period) == (0.05, 10.0, 240.0)
    assert (rules.min_answers, rules.slow_share) == (100, 0.10)


def test_late_webhook_gets_its_notifications_later_and_then_none(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.limits(retry_base=60)
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook)
    simulator.reset_counters()

    def send(counter: str, count: int) -> dict[str, int]:
        tenant.send("x@fabrikam.com", ["ann@contoso.example"])
        until(lambda: simulator.counters()["notifications"].get(counter, 0) == count)
        counts: dict[str, int] = simulator.counters()["notifications"]
        return counts

    simulator.delivery_rules(first_timeout=0.5, min_answers=2, slow_delay=0.5, probes=1)
    webhook.pause = 0.8
    for number in (1, 2):
        send("unanswered", number)
    assert simulator.counters()["webhooks"][webhook.url] == "slow"
    send("delayed", 1)
    webhook.pause = 0.0
    until(lambda: simulator.counters()["notifications"].get("delivered", 0) == 1)
    assert simulator.counters()["webhooks"][webhook.url] == "healthy"  # the late one was answered in time

    simulator.limits(retry_base=0.01)
    simulator.delivery_rules(first_timeout=0.5, retry_timeout=0.5, min_answers=2, drop_period=60)
    webhook.pause = 0.8
    send("unanswered", 4)
    assert simulator.counters()["webhooks"][webhook.url] == "drop"
    assert send("dropped", 1)["delayed"] == 1
