"""Whole searches that a fault meets: they go on elsewhere, wait and say so, or can be continued."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from faulting.impostor import Impostor
from faulting.world import BOARD, WITHIN_S, Came, Case, World

import paretune
from paretune.core.errors import TargetLostError
from paretune.core.jsontools import read_json
from paretune.display.live import Quiet
from paretune.searching import device_target

_AWAY_S = 5.0
_WAITS_S = (1.0, 2.0)
"""In the place of a search's own waits (four minutes), for a device that never comes back."""
_HERE = {"name": "local", "threads": [1]}
_THERE = {"name": BOARD, "threads": [1]}


class _Notes(Quiet):
    """Keeps the lines for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(frozen=True)
class Searched:
    """How a search ended.

    Attributes:
        error: What it raised; None: it came to its end.
        results: ``results.json``.
        notes: Lines for the user.
    """

    error: TargetLostError | None
    results: dict[str, Any]
    notes: list[str]

    def ended(self, name: str = "") -> str:
        """Return how each candidate ended, and how often a job was lost.

        Args:
            name: Of a device; empty: of the only one.
        """
        if name:
            found = self.results["devices"][name]
            return f"{found['status']}, {sorted(o['outcome'] for o in found['outcomes'].values())}"
        kinds = sorted(row["outcome"] for row in self.results["candidates"])
        return f"{self.results['status']}, {kinds}"


def searched(world: World, target: Any, strike: Callable[[], None] | None) -> Searched:
    """Search to the end, and cause a fault while the second candidate is measured on the board.

    Args:
        world: Its place.
        target: ``target:``.
        strike: Causes the fault; None: there is none.
    """
    config = {
        "model": str(world.model()),
        "passes": [{"onnx_dynamic_int8": {"per_channel": [False, True]}, "optional": True}],
        "evaluate": [{"latency": {"shapes": {"x": [8, 64]}}}],
        "targets": {BOARD: _declared(world)},
        "target": target,
        "objectives": {"minimize": "latency_ms_p50"},
        "search": {"time": "20m", "finals": 0, "strategy": "exhaustive"},
    }
    file, study, watcher = world.folder / "net.yaml", world.folder / "study", _Notes()
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    board = study / "devices" / BOARD if isinstance(target, list) else study
    struck = threading.Thread(target=_strike, args=(world, board, strike), daemon=True)
    if strike is not None:
        struck.start()
    error = None
    try:
        paretune.optimize(file, study=study, store=world.folder / "store", watcher=watcher)
    except TargetLostError as caught:
        error = caught
    if strike is not None:
        struck.join(WITHIN_S)
    return Searched(error, read_json(study / "results.json"), watcher.notes)


def _declared(world: World) -> dict[str, Any]:
    if world.kind == "python":
        return {"python": world.python}
    if world.kind == "ray":
        ray = {"address": world.cluster.address, "resources": {"one": 1}}
        return {"ray": ray, "python": world.python, "store": str(world.far)}
    assert world.sshd
    return {"ssh": BOARD, "python": world.python, "store": str(world.far)}


def _strike(world: World, study: Path, strike: Callable[[], None]) -> None:
    end = time.monotonic() + WITHIN_S
    while not list(study.glob("candidates/*/outcome.json")):
        if time.monotonic() > end:
            return
        time.sleep(0.02)
    world.busy(lambda: None)
    strike()


def agent_killed(world: World) -> Came:
    """Kill the agent in mid-measurement."""

    def strike() -> None:
        for agent in world.agents():
            agent.kill()

    return _whole(searched(world, {"build": "local", "measure": BOARD, "threads": [1]}, strike))


def connection_lost(world: World) -> Came:
    """Cut the connection in mid-measurement."""
    target = {"build": "local", "measure": BOARD, "threads": [1]}
    return _whole(searched(world, target, world.sshd.cut))


def restarted(world: World) -> Came:
    """Stop the sshd in mid-measurement; a while later it is there, with another boot id."""
    impostor = Impostor(world.folder / "impostor")
    impostor.set(boot_id="before")
    world.python = str(impostor.python)
    ended = threading.Event()
    world.stack.callback(ended.set)

    def come_back() -> None:
        time.sleep(_AWAY_S)
        world.sshd.start_again()
        ended.wait()  # the sshd ends with the thread that started it

    def strike() -> None:
        impostor.set(boot_id="after")
        world.sshd.stop()
        threading.Thread(target=come_back, daemon=True).start()

    target = {"build": "local", "measure": BOARD, "threads": [1]}
    return _whole(searched(world, target, strike), "tried again in", "was started again")


def _whole(found: Searched, *words: str) -> Came:
    """Judge a search that has to be as if undisturbed, but for jobs that were repeated."""
    rows = found.results["candidates"]
    lost = [
        step["step"] for row in rows for step in row["seconds"] if step["step"].endswith(":crashed")
    ]
    said = " / ".join(found.notes)
    ok = (
        found.error is None
        and found.results["status"] == "finished"
        and len(rows) == 3
        and {row["outcome"] for row in rows} <= {"ok", "pruned"}
        and len(lost) == 1
        and all(word in said for word in ("tried again in", *words))
    )
    return Came(found.ended(), None, None, f"{len(lost)} job", said, ok)


def one_of_two_gone(world: World) -> Came:
    """Stop the sshd of one of two devices for good; give the command again when it is back."""
    waits, device_target.LOST_WAITS_S = device_target.LOST_WAITS_S, _WAITS_S
    world.stack.callback(setattr, device_target, "LOST_WAITS_S", waits)
    assert world.sshd
    found = searched(world, [_HERE, _THERE], world.sshd.stop)
    first = f"local {found.ended('local')}; {BOARD} {found.ended(BOARD)}"
    here = found.results["devices"]["local"]
    world.sshd.start_again()
    again = searched(world, [_HERE, _THERE], None)
    said = " ".join(str(found.error).split())
    ok = (
        found.error is not None
        and found.error.exit_status == 2
        and here["status"] == "finished"
        and len(here["outcomes"]) == 3
        and found.results["devices"][BOARD]["status"] == "interrupted"
        and again.error is None
        and again.results["devices"][BOARD]["status"] == "finished"
        and len(again.results["devices"][BOARD]["outcomes"]) == 3
        and again.results["devices"]["local"]["metrics"].keys() == here["metrics"].keys()
    )
    what = f"{type(found.error).__name__}; {first}; the same command then: {again.ended(BOARD)}"
    return Came(what, True, None, "one measurement", said, ok)


def cases() -> list[Case]:
    """Return the faults that searches meet."""
    whole = "the search goes on by itself; one job is repeated, and the user is told"
    return [
        Case("python", "a search: the agent is killed", whole, agent_killed),
        Case("ssh", "a search: the agent is killed", whole, agent_killed),
        Case("ray", "a search: the agent is killed", whole, agent_killed),
        Case("ssh", "a search: the connection is lost", whole, connection_lost),
        Case(
            "ssh",
            f"a search: the machine starts again, away for {_AWAY_S:g} s",
            "the search waits, says so, and goes on; one job is repeated",
            restarted,
        ),
        Case(
            "ssh",
            "a search of two devices: one is gone for good",
            "the other one is searched to its end, status 2; the same command continues",
            one_of_two_gone,
        ),
    ]
