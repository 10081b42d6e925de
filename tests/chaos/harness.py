"""Kills a search, looks at what is left, and runs the same command again, over and over.

What must hold after each kill is in `Chaos._check_what_is_left`, what must hold at the end in
`Chaos.finish`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from paretune.core.jsontools import Json, read_json
from paretune.store.artifacts import Store
from paretune.study.folder import read_outcomes
from paretune.study.outcome_log import LOG, OutcomeLog
from paretune.study.samples import SamplesOnDisk

HERE = Path(__file__).resolve().parent
POINTS = ("write", "object", "action", "outcome", "log", "mirror", "results")
"""The durable steps: an artifact's files, its rename, the action that names it, the outcome, its
line in outcomes.jsonl, the trial in study.db, results.json."""
AT_EACH = tuple(f"{point}:{side}" for point in POINTS for side in ("before", "after"))
_WITHIN_S = 300.0


@dataclass
class Tally:
    """What was seen over many kills.

    Attributes:
        kills: Kills that hit, by where.
        cut: How often a kill cut a candidate that had begun, and its work was repeated.
        kept: Outcomes that were found again after a kill as they had been, over all kills.
        verified: Artifacts whose content was compared with their digest at the end.
    """

    kills: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    kept: int = 0
    verified: int = 0


class Chaos:
    """One study that is killed again and again, beside the same study undisturbed.

    Args:
        kind: ``fakes`` or ``real`` (see ``victim.py``).
        write: Writes the configuration into a folder, and returns its path.
        folder: An empty folder.
        deterministic: Metrics that come out the same each time, and so are compared.
    """

    def __init__(
        self,
        kind: str,
        write: Callable[[Path], Path],
        folder: Path,
        deterministic: tuple[str, ...],
    ) -> None:
        self._kind = kind
        self._metrics = deterministic
        self._journal = folder / "journal"
        self._every_journal = ""
        self._folder = folder / "disturbed"
        self._folder.mkdir(parents=True)
        self._config = write(self._folder)
        quiet = folder / "undisturbed"
        quiet.mkdir()
        assert self._run(write(quiet)) == 0, "the undisturbed search failed"
        self._expected = self._result_of(quiet)
        self._known: dict[int, Json] = {}
        self.tally = Tally()

    def kill_at(self, place: str, number: int = 1) -> bool:
        """Run until a named step comes for the nth time, and kill there; False if it never did."""
        return self._disturb(place, at=f"{place}:{number}")

    def kill_after(self, seconds: float) -> bool:
        """Run for so long, and kill; False if the search had ended by then."""
        return self._disturb("any moment", after=seconds)

    def _disturb(self, name: str, *, at: str = "", after: float | None = None) -> bool:
        status = self._run(self._config, at=at, after=after)
        if status != -signal.SIGKILL:
            assert status == 0, f"the search ended with {status} after a kill at {name}"
            return False
        self.tally.kills[name] += 1
        self._check_what_is_left()
        return True

    def _run(self, config: Path, *, at: str = "", after: float | None = None) -> int:
        self._journal.write_text("")
        paths = (HERE / "site", HERE.parent / "plugins", HERE.parent.parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "CHAOS_JOURNAL": str(self._journal),
            "CHAOS_AT": at,
        }
        command = [sys.executable, str(HERE / "victim.py"), self._kind, str(config)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            try:
                errors = process.communicate(timeout=after or _WITHIN_S)[1]
            except subprocess.TimeoutExpired:
                assert after is not None, "the search hangs"
                _kill(process.pid)
                errors = process.communicate()[1]
        if process.returncode not in (0, -signal.SIGKILL):
            print(errors.decode(errors="replace"), file=sys.stderr)
        self._every_journal += self._journal.read_text()
        return process.returncode

    def _check_what_is_left(self) -> None:
        """Every outcome that was there is there unchanged, and one candidate at most was cut."""
        study = self._folder / "study"
        found = {file.parent.name: read_json(file) for file in _outcomes(study)}
        for name, outcome in self._known.items():
            assert found.get(str(name)) == outcome, f"candidate {name} was lost or changed"
        self.tally.kept += len(self._known)
        self._known = found  # type: ignore[assignment]
        log = study / LOG
        if log.is_file():  # a kill while a line is written leaves a part of it
            content = log.read_bytes()
            log.write_bytes(content[: max(0, len(content) - 37 * self.tally.kills.total())])
        begun = {path.parent.name for path in study.glob("candidates/*/recipe.json")}
        cut = begun - set(found)
        assert len(cut) <= 1, f"more than one candidate was in flight: {cut}"
        self.tally.cut += len(cut)

    def finish(self) -> None:
        """Run undisturbed to the end, and compare with the study that never was disturbed."""
        assert self._run(self._config) == 0, "the search does not go on"
        study, store = self._folder / "study", Store(self._folder / "store")
        outcomes = read_outcomes(study)
        digests = [outcome.candidate.digest for outcome in outcomes]
        assert len(set(digests)) == len(digests), "a candidate is there twice"
        assert OutcomeLog(study, SamplesOnDisk()).read() == outcomes
        assert [outcome.id for outcome in outcomes] == list(range(1, len(outcomes) + 1))
        assert self._result_of(self._folder) == self._expected
        assert store.verify() == [], "an artifact was damaged"
        self.tally.verified = len(store.actions())
        assert list((store.root / "staging").iterdir()) == []
        assert [*study.rglob("*.tmp"), *store.root.rglob("*.tmp"), *study.rglob("*.part")] == []
        built = Counter(
            line.split()[1]
            for line in self._every_journal.splitlines()
            if line.startswith("action:after ")
        )
        # Once by the study that is killed, once by the one that is not.
        again = {key: times for key, times in built.items() if times > 2}
        assert not again, f"built although it was in the store: {again}"
        assert _trials(study) == len(outcomes), "study.db is not rebuilt"

    def _result_of(self, folder: Path) -> list[Json]:
        results: dict[str, Any] = read_json(folder / "study" / "results.json")
        assert results["status"] == "finished"
        kept = (
            "id",
            "recipe",
            "runtime",
            "outcome",
            "rung",
            "reason",
            "artifact",
            "pareto",
            "feasible",
            "duplicate_of",
        )
        return [
            {key: row[key] for key in kept}
            | {m: row["metrics"].get(m, {}).get("value") for m in self._metrics}
            for row in results["candidates"]
        ] + [{"best": results["best"], "pareto": results["pareto"]}]


def _outcomes(study: Path) -> Iterator[Path]:
    yield from sorted(study.glob("candidates/*/outcome.json"))


def _trials(study: Path) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(study / "study.db")) as database:
        count: int = database.execute("select count(*) from trials").fetchone()[0]
    return count


def _kill(root: int) -> None:
    """Kill a whole tree from outside, all at once."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(root)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in [top, *top.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
