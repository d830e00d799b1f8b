"""How many lines to the host's socket may be open, and how many files this process may open."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from orchestrator.host import lines as module
from orchestrator.host.lines import OF_AN_AGENT, OF_NOBODY, OF_WORKERS, Lines
from orchestrator.host.peers import NOBODYS


@pytest.mark.parametrize(("owner", "most"), [(4242, OF_AN_AGENT), (NOBODYS, OF_NOBODY), (None, OF_WORKERS)])
def test_each_has_its_own(owner: int | None, most: int) -> None:
    lines = Lines()
    assert [lines.take(owner) for _ in range(most + 2)] == [True] * most + [False] * 2
    assert all(lines.take(other) for other in (1, NOBODYS, None) if other != owner)
    lines.give_back(owner)
    assert [lines.take(owner) for _ in range(2)] == [True, False]


def test_all_agents_together_leave_half_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (20, 20))
    lines = Lines()
    for _ in range(30):
        assert lines.take(None), "a worker is no agent"
    assert [lines.take(agent) for agent in range(1, 13)] == [True] * 10 + [False] * 2
    assert lines.take(None)


PROGRAM = """
import json, resource
from agent.confine import confine
from contract.messages import AgentLimits
from orchestrator import open_files

assert open_files.may_be_many() == 512
raised = resource.getrlimit(resource.RLIMIT_NOFILE)
confine(AgentLimits(open_files=100))
print(json.dumps([raised, resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def test_a_host_may_open_as_many_files_as_it_can_and_agents_as_many_as_they_are_told() -> None:
    def usual() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))

    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, preexec_fn=usual)
    assert json.loads(done.stdout) == [[512, 512], [100, 100]]
