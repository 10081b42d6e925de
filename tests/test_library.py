"""paretune as a library: what it exports, what configurations it takes, what it reports."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import write_fake_study

import paretune
from paretune.config import load
from paretune.core.errors import ConfigError
from paretune.display.log import LOGGER, Logged
from tests.tiny_models import make_tiny_llama


def test_every_export_is_there_and_importing_is_light() -> None:
    for name in paretune.__all__:
        assert getattr(paretune, name) is not None
    assert paretune.__version__ == version("paretune")
    assert set(paretune.__all__) <= set(dir(paretune))
    code = "import paretune, sys; print(*({'numpy', 'torch', 'yaml', 'optuna'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


def test_no_module_takes_the_place_of_an_export() -> None:
    code = (
        "import pkgutil, paretune\n"
        "found = {m.name for m in pkgutil.iter_modules(paretune.__path__)}"
        "\nprint(*found & set(paretune.__all__))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


def test_a_file_its_text_and_a_mapping_are_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_fake_study(tmp_path, {"x": [1, 2]})
    monkeypatch.chdir(tmp_path)
    text = file.read_text()
    value = yaml.safe_load(text)
    value["model"] = Path("model")
    value["target"]["threads"] = (1,)
    plans = [
        load(form).to_json()
        for form in (file, str(file), text, json.dumps(value, default=str), value)
    ]
    assert all(plan == plans[0] for plan in plans)
    assert [load(form).name for form in (file, text, value)] == ["fake", "search", "search"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"passes": [{"noop": {"y": 1}}]}, "no parameter 'y'"),
        ({"model": "nowhere"}, "nowhere"),
        ({"search": {"time": "soon"}}, "time"),
        ({"objectives": {"minimize": object()}}, "found a object"),
        ({"objectives": {"minimize": len}}, "Functions are allowed only in"),
    ],
)
def test_errors_of_a_mapping_name_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
) -> None:
    value = yaml.safe_load(write_fake_study(tmp_path, {"x": 1}).read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load({**value, **change})
    assert told in str(caught.value)
    assert next(iter(change)) in str(caught.value)


def test_lines_go_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="paretune"):
        display = Logged()
        display.note("warning: something")
        display.finish(["done"])
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("paretune", "WARNING", "warning: something"),
        ("paretune", "INFO", "done"),
    ]


def test_without_any_configuration_it_is_seen_and_the_level_is_the_users() -> None:
    code = (
        "import logging; {}from paretune.display.log import Logged; d = Logged(); "
        "d.finish(['line']); d.note('note')"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", code.format(first)], capture_output=True, text=True, check=True
        )
        for first in ("", "logging.getLogger('paretune').setLevel(logging.ERROR); ")
    ]
    assert [one.stderr for one in seen] == ["line\nnote\n", ""]
    assert LOGGER.name == "paretune"


@pytest.mark.parametrize("config", [None, 5, [{"model": "m"}], b"model: m"])
def test_what_is_no_configuration_is_said(config: Any) -> None:
    with pytest.raises(ConfigError, match="expected a configuration"):
        load(config)


def test_a_mapping_that_contains_itself_is_said() -> None:
    value: dict[str, Any] = {"model": "m"}
    value["data"] = value
    with pytest.raises(ConfigError, match="does the value contain itself"):
        load(value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"trials": 0}, "trials"),
        ({"trials": True}, "trials"),
        ({"trials": 1.5}, "trials"),
        ({"study": ""}, "study"),
        ({"store": ""}, "store"),
    ],
)
def test_arguments_are_checked_as_switches_are(call: dict[str, Any], told: str) -> None:
    with pytest.raises(paretune.UsageError, match=told):
        paretune.optimize({"model": "m"}, **call)


def test_a_comparison_of_one_name_is_said() -> None:
    with pytest.raises(paretune.UsageError, match="a list of two or more"):
        paretune.compare("models/a")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_llama(tmp_path_factory.mktemp("compared") / "m", positions=64))


@pytest.mark.parametrize(
    ("given", "more", "told"),
    [
        ([], {}, "0 to compare; a comparison needs two or more"),
        (["M"], {}, "1 to compare"),
        (["M", "nowhere"], {}, "no such folder"),
        (["M", "a\0b"], {}, r"a\\x00b"),
        (["M", "M"], {"rounds": 0}, "rounds 0: expected a whole number of at least 1"),
        (["M", "M"], {"rounds": True}, "rounds True"),
        (["M", "M"], {"threads": 0}, "threads 0"),
        (["M", "M"], {"time": -1}, "time -1: expected a time above 0"),
        (["M", "M"], {"time": math.nan}, "time nan"),
        (["M", "M"], {"time": True}, "time True"),
        (["M", "M"], {"margin": 2}, "margin 2: expected a share"),
        (["M", "M"], {"new_tokens": 1}, "new_tokens 1: expected a whole number of at least 2"),
        (["M", "M"], {"prompt_tokens": 40, "new_tokens": 30}, "71 tokens are needed"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_machine_is_looked_at(
    tiny: str, monkeypatch: pytest.MonkeyPatch, given: list[str], more: dict[str, Any], told: str
) -> None:
    def looked(*_: Any) -> None:
        raise AssertionError("the machine was looked at")

    monkeypatch.setattr("paretune.targets.device.environment.inspect_environment", looked)
    monkeypatch.setattr("paretune.targets.launchers.local.LocalTarget.info", looked)
    with pytest.raises(paretune.UsageError, match=told) as refused:
        paretune.compare([tiny if one == "M" else one for one in given], **more)
    assert "\0" not in str(refused.value)


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[31mb", "a\x7fb", "a\x9bb", "a\nb"])
def test_no_message_holds_a_control_character(name: str) -> None:
    with pytest.raises(paretune.UsageError) as refused:
        paretune.optimize(
            {
                "model": name,
                "passes": ["merge"],
                "evaluate": ["footprint"],
                "objectives": {"minimize": "size_mb"},
            }
        )
    told = str(refused.value)
    assert all(c.isprintable() or c == "\n" for c in told)
    assert name not in told
    assert "no model folder" in told
    error = paretune.UsageError("x\0y", hint="\x1b")
    assert (error.message, error.hint) == (r"x\x00y", r"\x1b")
