"""`paretune target`: devices behind ssh are prepared, checked, measured and remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import paretune
from small_wheels import write_wheel

from paretune.cli.adding import Known, add_target, check_wish, name_of
from paretune.cli.targets import in_yaml
from paretune.config.known_targets import known_targets, remember
from paretune.config.schema import DeclaredTarget
from paretune.core.errors import UsageError
from paretune.targets.launchers.wish import Wish
from tests.targets.sshd import Sshd
from tests.tiny_models import make_tiny_llama


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who knows no target."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "paretune" / "targets.yaml"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("board", "board"),
        ("pi@board", "board"),
        ("pi@board.local", "board.local"),
        ("ssh://pi@board:22", "board"),
        ("ssh://board", "board"),
        ("10.0.0.7", "10.0.0.7"),
        ("ssh://pi@[fe80::1]:22", "fe80::1"),
        ("a@b@board", "board"),
    ],
)
def test_a_target_has_the_name_of_its_host(host: str, name: str) -> None:
    assert name_of(host) == name


@pytest.mark.parametrize(
    ("name", "host", "wish", "told"),
    [
        ("local", "local", Wish(), "target 'local': 'local' is the name of a target that exists"),
        ("a b", "board", Wish(), "'a b' is not a valid name"),
        ("board", "-oProxyCommand=x", Wish(), "'-oProxyCommand=x' is not a host"),
        ("board", "board:22", Wish(), "'board:22' is not a host\n.*ssh://user@host:22"),
        ("board", "", Wish(), "'' is not a host"),
        ("board", "board", Wish(runtimes=["gena"]), "no runtime named 'gena'\n.*'genai'"),
        ("board", "board", Wish(folder=" "), "' ' is empty"),
        ("board", "board", Wish(python=""), "'' is empty"),
        ("board", "board", Wish(wheelhouse=Path("/nowhere")), "there is no folder '/nowhere'"),
        ("taken", "board", Wish(), "known already: pi@other\n.*paretune target remove taken"),
    ],
)
def test_what_cannot_be_added_is_refused_before_anything_is_reached(
    name: str, host: str, wish: Wish, told: str
) -> None:
    remember("taken", DeclaredTarget(ssh="pi@other"))
    with pytest.raises(UsageError, match=told):
        check_wish(name, host, wish)
    check_wish("taken", "pi@other", Wish())


@pytest.mark.parametrize("name", ["board", "pi-4", "10.0.0.7", "::1", "yes", "a,b", "é", "x: y"])
def test_a_name_is_shown_as_a_configuration_may_have_it(name: str) -> None:
    assert yaml.safe_load(f"{{measure: {in_yaml(name)}, threads: [1]}}")["measure"] == name


def test_known_targets_are_listed_shown_and_removed(tmp_path: Path, configuration: Path) -> None:
    done = paretune("target", "list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "paretune target add HOST" in done.stdout
    remember("board", DeclaredTarget(ssh="pi@board", python="/env/bin/python"))
    done = paretune("target", "list", cwd=tmp_path)
    assert done.stdout == "board  ssh: pi@board, python: /env/bin/python\n"
    keys = {"ssh": "pi@board", "python": "/env/bin/python"}
    done = paretune("target", "list", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"file": str(configuration), "targets": {"board": keys}}
    done = paretune("target", "show", "board", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["target"] == keys
    for command in ("show", "check", "remove"):
        done = paretune("target", command, "bord", cwd=tmp_path)
        assert done.returncode == 2
        assert "no target named 'bord' is known\n  Did you mean 'board'?" in done.stderr
    done = paretune("target", "remove", "board", cwd=tmp_path)
    assert "stays: /env/bin/python on pi@board" in done.stdout
    assert known_targets() == {}


def test_a_dry_run_changes_nothing(sshd: Sshd, tmp_path: Path, configuration: Path) -> None:
    before = sorted(sshd.home.rglob("*"))
    folder = str(tmp_path / "far")
    python = ("--python", sys.executable, "--folder", folder)
    done = paretune("target", "add", "board", "--dry-run", *python, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for told in ("board: connecting", "GB free in", "onnxruntime-genai==", "nothing was changed"):
        assert told in done.stdout
    assert sorted(sshd.home.rglob("*")) == before
    assert not Path(folder).exists()
    assert not configuration.exists()
    done = paretune("target", "add", "board", "--dry-run", "--json", *python, cwd=tmp_path)
    assert json.loads(done.stdout)["target"]["python"].startswith(f"{folder}/env/")


def test_an_environment_that_lacks_something_is_known_and_reported(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del sshd
    monkeypatch.setattr(Wish, "requirements", lambda _: ("one",))
    house = tmp_path / "house"
    write_wheel(house, "one")
    said: list[str] = []
    board = Known("board", "board", tmp_path / "store", said.append)
    wish = Wish(sys.executable, str(tmp_path / "far"), wheelhouse=house)
    with pytest.raises(UsageError, match="its Python interpreter lacks the module"):
        add_target(board, wish)
    first = known_targets()["board"]
    assert (first.ssh, first.store) == ("board", str(tmp_path / "far"))
    assert any("known in" in line for line in said)
    again = add_target(board, Wish(sys.executable, wheelhouse=house), dry_run=True)
    assert again["target"] == first.model_dump(exclude_none=True), "its folder is kept"
    assert "is complete" in again["plan"]


def reaches_an_index(folder: Path) -> bool:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "filelock"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("index_there", [True, False])
def test_a_host_becomes_a_device_that_measures_a_search(
    sshd: Sshd, tmp_path: Path, request: pytest.FixtureRequest, index_there: bool
) -> None:
    del sshd
    if not reaches_an_index(tmp_path / "probe"):
        pytest.skip("pip reaches no package index here")
    if not index_there:
        request.getfixturevalue("no_index_there")
    bench = () if index_there else ("--no-bench",)
    add = ("target", "add", "board", "--folder", str(tmp_path / "far"), *bench)
    done = paretune(*add, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert index_there or "copying" in done.stderr
    found = json.loads(done.stdout)
    assert found["doctor"]["ok"]
    assert found["doctor"]["role"] == "measure"
    python = found["target"]["python"]
    for absent in ("torch", "onnx", "peft"):
        assert subprocess.run([python, "-c", f"import {absent}"], capture_output=True).returncode
    if index_there:
        assert found["measured"]
        profile = json.loads(Path(found["profile"]).read_text())
        assert profile["fingerprint"] == found["doctor"]["device"]["fingerprint"]
        again = json.loads(paretune(*add, "--json", cwd=tmp_path).stdout)
        assert (again["target"], again["measured"]) == (found["target"], False)
    search(tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_a_host_becomes_a_machine_that_builds(sshd: Sshd, tmp_path: Path) -> None:
    del sshd
    if not reaches_an_index(tmp_path / "probe"):
        pytest.skip("pip reaches no package index here")
    add = ("target", "add", "board", "--does", "both", "--folder", str(tmp_path / "far"))
    done = paretune(*add, "--no-bench", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["builds"]["role"], found["doctor"]["role"]) == ("build", "measure")
    assert {"lora", "merge", "genai", "matmul_nbits"} <= set(found["passes"])
    search(tmp_path, build="board")
    store = json.loads(paretune("cache", "--json", "--store", "far", cwd=tmp_path).stdout)
    assert store["artifacts"], "they were built there"


def search(folder: Path, **builds: str) -> None:
    """Search with every evaluator of a generating model, measured on the known target."""
    make_tiny_llama(folder / "model")
    rows = [{"q": f"line {i}", "a": "yes" if i % 3 else "no"} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {
        "model": "model",
        "data": {"qa": {"file": "rows.jsonl", "prompt": "{q}: ", "answer": "{a}"}},
        "passes": [{"genai": {"precision": ["fp32", "int8"]}}],
        "evaluate": [
            {"classification": {"data": "qa"}},
            {"perplexity": {"data": "qa"}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
            {"footprint": {"loads": 1}},
        ],
        "target": {**builds, "measure": "board", "threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "search": {"finals": 20},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(plan))
    done = paretune("search", "c.yaml", "--study", "study", cwd=folder)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "study" / "results.json").read_text())
    assert list(results["devices"]) == ["board"]
    baseline = results["candidates"][0]
    assert baseline["outcome"] == "ok", baseline
    for metric in ("accuracy", "perplexity", "decode_ms_p50", "peak_memory_mb"):
        assert baseline["metrics"][metric]["value"] is not None
