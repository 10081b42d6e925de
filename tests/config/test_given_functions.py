"""Functions given as objects become modules that another process can import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from paretune.config.given_functions import importable, module_source, place_of
from paretune.core.errors import UsageError

_LIMIT = 3.0
_TABLE = {"a": [1, 2.5, None]}
_CACHE = object()


def helper(value: float) -> float:
    return float(json.loads(json.dumps(value))) * _LIMIT


def metric(session: Any, examples: list[Any]) -> float:
    return helper(2.0) + len(_TABLE["a"]) + Path("x").name.count("x")


def again(n: int) -> int:
    return 1 if n == 0 else n * again(n - 1)


def uses_the_session(session: Any, examples: list[Any]) -> int:
    return id(_CACHE)


def made() -> Any:
    factor = 2.0

    def inner(session: Any, examples: list[Any]) -> float:
        return factor

    return inner


def test_a_function_of_a_script_runs_in_another_process_as_it_does_there(tmp_path: Path) -> None:
    """The whole way: defined under ``__main__``, written out, imported elsewhere."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import json as j
            from math import sqrt
            from pathlib import Path
            import sys
            from paretune.config.given_functions import place_of

            SCALE = {"x": 2}

            def double(v):
                return v * SCALE["x"]

            def metric(session, examples: "list[Nowhere]", root=sqrt) -> "Nowhere":
                kept: Nowhere = double(root(16)) + len(j.dumps([1])) if True else 0
                return kept

            Path("code").mkdir()
            print(place_of(metric, Path("code")), metric(None, []))
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    place, value = told.stdout.split()
    assert place == "given_metric:metric"
    code = f"import {place.split(':')[0]} as m; print(m.metric(None, []))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "code",
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout.split() == [value]


def test_what_it_uses_stands_before_it() -> None:
    source = module_source(metric)
    names: dict[str, Any] = {}
    exec(compile(source, "given", "exec"), names)
    assert names["metric"](None, []) == metric(None, []) == 10.0
    # What another process can import is imported; values of this module are written out.
    assert f"from {__name__} import helper as helper" in source
    assert f"_TABLE = {_TABLE!r}" in source


def test_a_function_that_calls_itself() -> None:
    names: dict[str, Any] = {}
    exec(compile(module_source(again), "given", "exec"), names)  # type: ignore[arg-type]
    assert names["again"](5) == 120


def test_one_that_is_importable_is_named(tmp_path: Path) -> None:
    assert place_of(json.dumps, tmp_path) == "json:dumps"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "function",
    [lambda session, examples: 1.0, made(), len, Path],
    ids=["lambda", "inner", "c", "class"],
)
def test_what_is_no_function_at_the_top_is_refused(function: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="defined with def") as caught:
        place_of(function, tmp_path)
    assert "at the top" in str(caught.value)


def test_what_the_worker_does_not_have_is_named() -> None:
    with pytest.raises(UsageError, match="uses _CACHE, a object that exists only in this session"):
        module_source(uses_the_session)  # type: ignore[arg-type]


def test_the_path_is_as_before_afterwards() -> None:
    before = list(sys.path)
    config = {"evaluate": [{"custom": {"function": json.dumps, "metric": "m"}}, "footprint"]}
    with importable(config) as (plain, folder):
        assert sys.path[-1] == str(folder)
        assert plain["evaluate"][0]["custom"] == {"function": "json:dumps", "metric": "m"}
    assert sys.path == before
    assert config["evaluate"][0]["custom"]["function"] is json.dumps  # type: ignore[index]
    with importable("a: 1\n") as (plain, folder):
        assert (plain, folder) == ("a: 1\n", None)
