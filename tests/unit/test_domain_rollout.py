from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.rollout import (
    Done,
    Fail,
    HostProgress,
    PoolProgress,
    Recycle,
    RolloutPolicy,
    RolloutView,
    Tell,
    Wait,
    step,
)

POLICY = RolloutPolicy(share=0.25, patience_s=60)
FOLLOWED, BEHIND = HostProgress("a", followed=True), HostProgress("b", followed=False)


def view(*hosts: HostProgress, old: int = 0, ready: int = 4, target: int = 4, quiet_s: float = 0.0) -> RolloutView:
    return RolloutView(hosts, [PoolProgress("default", old, ready, target)], quiet_s)


def test_every_host_loads_the_code_first() -> None:
    assert step(view(FOLLOWED, BEHIND, old=4), POLICY) == Tell(("b",))


def test_one_that_cannot_load_it_stops_the_rollout_before_anything_is_ended() -> None:
    broken = HostProgress("b", followed=True, error="No module named 'x'")
    assert step(view(FOLLOWED, broken, old=4), POLICY) == Fail("b: No module named 'x'")


def test_a_quarter_of_the_pool_at_a_time() -> None:
    assert step(view(FOLLOWED, old=8, ready=8, target=8), POLICY) == Recycle(2, 6)


def test_the_pool_fills_up_before_the_next_few() -> None:
    assert step(view(FOLLOWED, old=6, ready=6, target=8), POLICY) == Wait("the pool has 6 of 8 agents")
    assert step(view(FOLLOWED, old=6, ready=7, target=8), POLICY) == Recycle(1, 6)


def test_a_pool_of_one_is_recycled_too() -> None:
    assert step(view(FOLLOWED, old=1, ready=1, target=1), POLICY) == Recycle(1, 0)


def test_what_is_above_the_target_goes_at_once() -> None:
    assert step(view(FOLLOWED, old=9, ready=9, target=0), POLICY) == Recycle(9, 0)


def test_none_left_is_done() -> None:
    assert step(view(FOLLOWED, old=0, ready=1), POLICY) == Done()


def test_it_fails_with_what_it_waited_for() -> None:
    pool = step(view(FOLLOWED, old=3, ready=3, quiet_s=61), POLICY)
    assert pool == Fail("nothing moved for 60 s: the pool has 3 of 4 agents")
    hosts = step(view(FOLLOWED, BEHIND, quiet_s=61), POLICY)
    assert hosts == Fail("nothing moved for 60 s: b did not load the code")
    nobody = step(view(quiet_s=61), POLICY)
    assert nobody == Fail("nothing moved for 60 s: no host is alive that does not drain")


def test_patience_is_for_waiting_only() -> None:
    assert step(view(FOLLOWED, old=4, quiet_s=1e6), POLICY) == Recycle(1, 3)
    assert step(view(FOLLOWED, old=0, quiet_s=1e6), POLICY) == Done()


@given(
    target=st.integers(0, 50),
    ready=st.integers(0, 80),
    share=st.floats(0.01, 1.0),
    data=st.data(),
)
def test_it_never_takes_more_than_its_share_below_the_target(
    target: int, ready: int, share: float, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, ready))
    found = step(view(FOLLOWED, old=old, ready=ready, target=target), RolloutPolicy(share=share))
    if isinstance(found, Recycle):
        assert 1 <= found.count <= old
        assert ready - found.count >= found.leaving >= target - max(1, int(target * share))


@given(target=st.integers(0, 30), share=st.floats(0.01, 1.0))
def test_it_comes_to_an_end_where_the_pool_fills_up(target: int, share: float) -> None:
    old, policy = target, RolloutPolicy(share=share)
    for _ in range(target + 1):
        found = step(view(FOLLOWED, old=old, ready=target, target=target), policy)
        if isinstance(found, Done):
            return
        assert isinstance(found, Recycle)
        old -= found.count
    raise AssertionError(f"{old} are left")
