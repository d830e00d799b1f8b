"""Which hosts are lost, by a clock that the tests set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.hosts import Lose, LossPolicy, Pulse, Suspect, judge

POLICY = LossPolicy(lost_s=10)
PERIOD_S = 2.5


class Hosts:
    """Looked at as the task looks: what it notes is kept until the next heartbeat."""

    def __init__(self, *names: str) -> None:
        self.pulses = {name: Pulse(name, 0.0) for name in names}

    def beat(self, name: str, at: float) -> None:
        self.pulses[name] = Pulse(name, at)

    def look(self, now: float) -> list[str]:
        """The hosts that are lost at this look."""
        verdicts = judge(self.pulses.values(), POLICY, now)
        for verdict in verdicts:
            if isinstance(verdict, Suspect):
                self.pulses[verdict.host] = Pulse(verdict.host, self.pulses[verdict.host].heartbeat_at, now)
        return [verdict.host for verdict in verdicts if isinstance(verdict, Lose)]


def test_one_that_beats_is_neither_suspected_nor_lost() -> None:
    assert judge([Pulse("a", 100.0)], POLICY, 101.0) == []


@given(st.floats(0, PERIOD_S))
def test_a_silent_one_is_lost_within_a_look_of_its_time_and_the_others_are_not(first_look: float) -> None:
    hosts, now, lost_at = Hosts("silent", "well"), first_look, None
    while lost_at is None:
        hosts.beat("well", now)
        lost = hosts.look(now)
        assert "well" not in lost
        lost_at = now if lost else None
        now += PERIOD_S
    assert POLICY.lost_s <= lost_at < POLICY.lost_s + PERIOD_S


def test_a_lost_one_stays_so_until_it_is_heard() -> None:
    hosts = Hosts("a")
    found = [hosts.look(now) for now in (5.0, 11.0, 13.5, 16.0)]
    assert found == [[], ["a"], ["a"], ["a"]]
    hosts.beat("a", 17.0)
    assert hosts.look(18.0) == []


@given(outage_s=st.floats(0, 1000), back_s=st.floats(0.1, POLICY.confirm_s), first_look=st.floats(0, PERIOD_S))
def test_nobody_is_lost_for_the_stores_own_absence(outage_s: float, back_s: float, first_look: float) -> None:
    """All heartbeats are old when it is back; each host is heard within some seconds."""
    hosts = Hosts("a", "b")
    now = outage_s + first_look
    while now < outage_s + 60:
        if now >= outage_s + back_s:
            hosts.beat("a", now - 0.5)
            hosts.beat("b", now - 0.9)
        assert hosts.look(now) == []
        now += PERIOD_S
