"""Signals at given moments of the real command, each sent from inside of it by an audit hook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fake_study import write_fake_study

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"
LINE = "interrupted; the same command again goes on from here"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# Sends a signal to its own process when an event comes for the first time: `import NAME`,
# `os.rename PART-OF-A-NAME`; then runs the command as its script does.
DRIVER = """
import json, os, sys
numbers, moments, sys.argv = json.loads(sys.argv[1])
def hook(event, arguments):
    if not moments:
        return
    wanted, _, name = moments[0].partition(" ")
    if event == wanted and any(name in str(a) for a in arguments):
        moments.pop(0)
        os.kill(os.getpid(), numbers.pop(0))
sys.addaudithook(hook)
from paretune.cli import main
main()
"""


def interrupted(
    *moments: str, arguments: list[str], cwd: Path, number: int = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """Run the command; signals come at these moments."""
    told = [[number] * len(moments), list(moments), ["/usr/bin/paretune", *arguments]]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PLUGINS), *filter(None, sys.path)]),
        "PARETUNE_STORE": str(cwd / "store"),
    }
    return subprocess.run(
        [sys.executable, "-P", "-c", DRIVER, json.dumps(told)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["click", "paretune.cli.main", "paretune.core.errors"])
def test_while_the_command_is_imported(tmp_path: Path, module: str, number: int) -> None:
    seen = interrupted(f"import {module}", arguments=["--help"], cwd=tmp_path, number=number)
    assert (seen.returncode, seen.stdout, seen.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    "module", ["yaml", "pydantic", "paretune.data.catalog", "paretune.preflight.prepared"]
)
@pytest.mark.parametrize("switch", ["--dry-run", "--json"])
def test_while_a_configuration_is_read(tmp_path: Path, module: str, switch: str) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    seen = interrupted(f"import {module}", arguments=["search", str(config), switch], cwd=tmp_path)
    assert seen.returncode == 130
    assert seen.stderr in ("interrupted\n", f"{LINE}\n")
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["optuna", "sqlalchemy", "numpy"])
def test_while_a_search_that_has_begun_imports(tmp_path: Path, module: str, number: int) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    seen = interrupted(
        f"import {module}", arguments=["search", str(config)], cwd=tmp_path, number=number
    )
    assert (seen.returncode, seen.stderr) == (130, f"{LINE}\n")
    assert not list(tmp_path.glob("studies/fake/candidates/*/outcome.json"))


@pytest.mark.parametrize("number", SIGNALS)
def test_while_a_search_runs(tmp_path: Path, number: int) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2, 3]})
    seen = interrupted(
        "os.rename outcome.json", arguments=["search", str(config)], cwd=tmp_path, number=number
    )
    assert (seen.returncode, seen.stderr) == (130, f"{LINE}\n")
    results = json.loads((tmp_path / "studies" / "fake" / "results.json").read_text())
    assert results["status"] == "interrupted"
    assert (tmp_path / "studies" / "fake" / "report.html").is_file()


def test_again_while_it_ends(tmp_path: Path) -> None:
    """The second one breaks off the report, and nothing that was started stays behind."""
    before = set(psutil.Process().children(recursive=True))
    config = write_fake_study(tmp_path, {"x": [1, 2, 3]})
    seen = interrupted(
        "os.rename results.json",
        "import jinja2",
        "import plotly",
        arguments=["search", str(config)],
        cwd=tmp_path,
    )
    assert (seen.returncode, seen.stderr) == (130, f"{LINE}\n")
    assert len(list(tmp_path.glob("studies/fake/candidates/*/outcome.json"))) == 1
    assert set(psutil.Process().children(recursive=True)) <= before
    again = interrupted(arguments=["search", str(config)], cwd=tmp_path)
    assert again.returncode == 3  # a stub cannot be loaded: every candidate fails
    assert len(list(tmp_path.glob("studies/fake/candidates/*/outcome.json"))) == 4


def test_what_was_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    code = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    code += "import os; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    told = [[signal.SIGHUP], ["import click"], ["paretune", "--help"]]
    seen = subprocess.run(
        [sys.executable, "-c", code, "-P", "-c", DRIVER, json.dumps(told)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.returncode == 0
    assert "Commands:" in seen.stdout


SWALLOWED = """
import os, signal, sys
sys.argv = ["paretune"]
from paretune.core import interrupts
interrupts.at_stake()
class Lost:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            pass
try:
    Lost()
    while True:
        signal.pause()
except KeyboardInterrupt:
    print("came all the same")
"""


def _ran(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code of its own in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_that_a_destructor_swallows_comes_again(tmp_path: Path) -> None:
    seen = _ran(SWALLOWED, tmp_path)
    assert (seen.stdout, seen.stderr) == ("came all the same\n", "")


_LOGGERS = ("sqlalchemy", "sqlalchemy.pool")
LOGGED = """
import os, signal, sys
sys.argv = ["paretune"]
from paretune.core import interrupts
interrupts.install()
interrupts.at_stake()
import logging, sqlalchemy
%s
engine = sqlalchemy.create_engine("sqlite://")
@sqlalchemy.event.listens_for(engine, "reset")
def sent_while_a_connection_goes_back(*_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        pass
try:
    engine.connect().close()
except KeyboardInterrupt:
    logging.getLogger("sqlalchemy.pool").error("an error of its own is logged")
    print("came")
"""


@pytest.mark.parametrize(
    "handler",
    ["", "logging.basicConfig(format='%(message)s')"]
    + [f"logging.getLogger({name!r}).addHandler(logging.StreamHandler())" for name in _LOGGERS],
)
def test_no_library_logs_it_as_an_error_of_its_own(tmp_path: Path, handler: str) -> None:
    """SQLAlchemy's pool logs what breaks off its reset, with a traceback."""
    seen = _ran(LOGGED % handler, tmp_path)
    assert (seen.stdout, seen.stderr) == ("came\n", "an error of its own is logged\n")


def test_as_a_library_signals_are_the_callers() -> None:
    code = "import signal; before = signal.getsignal(signal.SIGTERM); import paretune.api; "
    code += "assert signal.getsignal(signal.SIGTERM) is before; "
    code += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("name", ["numpy", "torch", "click", "yaml", "typing", "signal"])
def test_code_in_the_working_folder_is_none_of_the_commands(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    config = write_fake_study(tmp_path, {"x": 1})
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PLUGINS), *filter(None, sys.path)]),
        "PARETUNE_STORE": str(tmp_path / "store"),
    }
    seen = subprocess.run(
        [sys.executable, "-m", "paretune", "search", str(config), "--dry-run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
