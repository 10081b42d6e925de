"""What paretune's own source does not do, however it grows: unpickle, evaluate, load carelessly."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("paretune", "passes", "evaluators", "search", "targets")
UNPICKLES = {"torch.load", "numpy.load", "np.load", "joblib.load", "pandas.read_pickle"}
EVALUATES = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# What loads weights, and so might load pickled ones.
LOADS_WEIGHTS = ("AutoModelForCausalLM",)


@cache
def sources() -> list[tuple[str, ast.Module]]:
    return [
        (str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8")))
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_is_unpickled_or_evaluated() -> None:
    found = [
        f"{file}:{call.lineno}: {name}"
        for file, tree in sources()
        for name, call in calls(tree)
        if (name in UNPICKLES and not refuses_pickles(call))
        or name in EVALUATES
        or any(k.arg == "shell" for k in call.keywords)
        or (any(k.arg == "allow_pickle" for k in call.keywords) and not refuses_pickles(call))
    ]
    assert found == []


def refuses_pickles(call: ast.Call) -> bool:
    """Return whether a call says ``allow_pickle=False``, as numpy's readers take it."""
    given = [k.value for k in call.keywords if k.arg == "allow_pickle"]
    return [isinstance(v, ast.Constant) and v.value is False for v in given] == [True]


def test_no_module_that_unpickles_is_imported() -> None:
    found = []
    for file, tree in sources():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{file}: {name}" for name in names if name.partition(".")[0] in MODULES]
    assert found == []


@pytest.mark.parametrize("option", ["local_files_only", "use_safetensors"])
def test_whatever_is_loaded_from_a_folder_is_loaded_with_care(option: str) -> None:
    found = []
    for file, tree in sources():
        for name, call in calls(tree):
            loader, _, method = name.rpartition(".")
            if method != "from_pretrained":
                continue
            if option == "use_safetensors" and loader not in LOADS_WEIGHTS:
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if given.get(option) != "True":
                found.append(f"{file}:{call.lineno}: {name} without {option}=True")
    assert found == []
