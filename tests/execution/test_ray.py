"""What is Ray's alone: nobody else can reach it, and an impossible wish is told at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from archsearch.errors import ClusterError
from archsearch.execution.base import Executor, ExecutorOptions
from archsearch.execution.ray import RayExecutor
from tests.execution.test_contract import answers, asked

pytestmark = pytest.mark.ray


def listeners() -> dict[str, str]:
    """Local addresses, in hexadecimal, of listening sockets by inode."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found[fields[9]] = fields[1].rpartition(":")[0]
    return found


def of_this_session() -> set[int]:
    """This process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    ours = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        if not more:
            return ours
        ours |= more


def sockets_of(pids: set[int]) -> set[str]:
    found = set()
    for pid in pids:
        try:
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                target = str(handle.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def test_nothing_listens_outside_loopback(ray_executor: Executor) -> None:
    ray_executor.submit(asked("ok"))
    answers(ray_executor, 1)
    everywhere = listeners()
    ours = {
        inode: everywhere[inode] for inode in sockets_of(of_this_session()) if inode in everywhere
    }
    assert len(ours) >= 3, "a Ray cluster listens somewhere: the test looks at the wrong sockets"
    loopback = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
    assert {inode: address for inode, address in ours.items() if address not in loopback} == {}


def test_the_token_is_ours_alone(ray_executor: Executor) -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    # Ray opens its folder to everybody: the one around it must not
    assert stat.S_IMODE(token.parent.parent.stat().st_mode) == 0o700
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(token.read_text()) == 64


def test_as_many_at_a_time_as_there_are_workers(ray_executor: Executor) -> None:
    assert ray_executor.slots == 2


def test_more_than_the_workers_can_hold_waits_outside_ray(ray_executor: Executor) -> None:
    assert isinstance(ray_executor, RayExecutor)
    for _ in range(6):
        ray_executor.submit(asked("ok"))
    assert len(ray_executor._flying) <= 2
    assert len(answers(ray_executor, 6)) == 6


def test_a_wish_that_no_node_can_fulfil_is_refused(
    ray_executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(ray_executor, RayExecutor)
    for wish in (ExecutorOptions(cpus_per_trial=99), ExecutorOptions(gpus_per_trial=1)):
        monkeypatch.setattr(ray_executor, "_options", wish)
        with pytest.raises(ClusterError, match="no room for a trial"):
            ray_executor._count_slots()
