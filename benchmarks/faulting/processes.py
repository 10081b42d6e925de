"""Faults of processes: a job's, the agent's, the fork server's; and a machine that starts again."""

from __future__ import annotations

import signal

import psutil
from faulting.impostor import Impostor
from faulting.world import Came, Case, Expected, World, interrupted

from paretune.core.job import Limits
from paretune.targets.launchers import conversation

_GRACE_S = 1.0
"""Of a job whose agent is silent; it is ten minutes in a search (`conversation.GRACE_S`)."""
_KILLED = Expected("crashed, transient, at once; the next job runs", words="SIGKILL")
_CHANNEL = Expected("crashed, transient, at once; the next job connects again", words="was lost")
_STOPPED = Expected(
    f"given up after the job's time limit and {_GRACE_S:g} s (ten minutes in a search); the next "
    "job starts another agent",
    within_s=30.0,
    words="sent no result within its time limit",
)
_RESTARTED = Expected(
    "crashed, transient; the user is told that it started again; the next job runs",
    words="was lost",
)
_CHANGED = Expected(
    "crashed, transient; then DeviceChangedError: no value is valid for both",
    again="DeviceChangedError",
    words="is not the device that it was",
)
_GONE = Expected(
    "crashed, transient; then TargetLostError: the same command continues",
    again="TargetLostError",
)


def job_killed(world: World) -> Came:
    """Kill the process that measures."""
    return interrupted(world, world.open(), lambda worker: worker.kill(), _KILLED)


def fork_server_killed(world: World) -> Came:
    """Kill the process that starts the jobs' processes."""

    def strike(worker: psutil.Process) -> None:
        server = worker.parent()
        assert server is not None
        server.kill()

    expected = Expected("crashed, transient, at once; the next job starts another one")
    return interrupted(world, world.open(), strike, expected)


def agent_killed(world: World) -> Came:
    """Kill the agent."""
    return interrupted(world, world.open(), lambda _: _each(world, signal.SIGKILL), _CHANNEL)


def agent_stopped(world: World) -> Came:
    """Stop the agent, and let it go on before the next job."""
    before, conversation.GRACE_S = conversation.GRACE_S, _GRACE_S
    world.stack.callback(setattr, conversation, "GRACE_S", before)
    agents: list[psutil.Process] = []

    def strike(worker: psutil.Process) -> None:
        agents.extend(world.agents())
        _each(world, signal.SIGSTOP)

    def go_on() -> None:
        for agent in agents:
            if agent.is_running():
                agent.resume()

    return interrupted(
        world, world.open(), strike, _STOPPED, limits=Limits(10.0), before_again=go_on
    )


def machine_restarted(world: World) -> Came:
    """Kill the agent; the next one has another boot id."""
    impostor = Impostor(world.folder / "impostor")
    impostor.set(boot_id="before")
    world.python = str(impostor.python)

    def strike(worker: psutil.Process) -> None:
        impostor.set(boot_id="after")
        _each(world, signal.SIGKILL)

    return interrupted(world, world.open(), strike, _RESTARTED)


def another_device(world: World) -> Came:
    """Kill the agent; the next one is on a device with other facts."""
    impostor = Impostor(world.folder / "impostor")
    world.python = str(impostor.python)

    def strike(worker: psutil.Process) -> None:
        impostor.set(processor="another processor")
        _each(world, signal.SIGKILL)

    return interrupted(world, world.open(), strike, _CHANGED)


def interpreter_gone(world: World) -> Came:
    """Kill the agent, and remove its interpreter."""
    impostor = Impostor(world.folder / "impostor")
    world.python = str(impostor.python)

    def strike(worker: psutil.Process) -> None:
        impostor.python.unlink()
        _each(world, signal.SIGKILL)

    return interrupted(world, world.open(), strike, _GONE)


def _each(world: World, number: signal.Signals) -> None:
    agents = world.agents()
    assert agents, "no agent runs"
    for agent in agents:
        agent.send_signal(number)


def cases() -> list[Case]:
    """Return the faults of processes."""
    everywhere = [
        Case(kind, "the job's process is killed in mid-measurement", _KILLED.text, job_killed)
        for kind in ("local", "python", "ssh", "ray")
    ]
    server = "the next job starts another fork server"
    found = [
        *everywhere,
        Case(
            "local",
            "the fork server is killed",
            f"crashed, transient, at once; {server}",
            fork_server_killed,
        ),
    ]
    for kind in ("python", "ssh", "ray"):
        found += [
            Case(kind, "the agent is killed", _CHANNEL.text, agent_killed),
            Case(kind, "the agent is stopped (SIGSTOP)", _STOPPED.text, agent_stopped),
            Case(kind, "the machine starts again", _RESTARTED.text, machine_restarted),
            Case(kind, "another device answers", _CHANGED.text, another_device),
            Case(kind, "the interpreter is gone for good", _GONE.text, interpreter_gone),
        ]
    return found
