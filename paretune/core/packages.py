"""Which packages are installed, and which extra of paretune brings one that is missing.

The base installation has what a worker needs, without PyTorch and without a runtime. Everything
else comes with the extras that ``pyproject.toml`` declares; this module reads them from the
installed metadata.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from paretune.core.distributions import normal, variants
from paretune.core.errors import UsageError

_PREFERRED = (
    "train",
    "genai",
    "onnx",
    "search",
    "cpu",
    "gpu",
    "directml",
    "azureml",
    "images",
    "detection",
    "recognition",
)
"""The extras in the order in which one is proposed for a package that several bring."""

WORKER = ("numpy", "pydantic", "psutil", "filelock", "packaging")
"""What a worker that measures needs, whatever it measures, and the agent and `doctor` there."""
TOKENIZERS = ("transformers", "sentencepiece", "jinja2")
"""What it needs besides where a model takes text; transformers imports no PyTorch for that."""
RUNTIMES = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime_genai")
"""The modules that most jobs on language models need."""


@dataclass(frozen=True)
class UsedPackages:
    """Distributions that the jobs of a search import.

    Attributes:
        build: Those of builds.
        measure: Those of measurements.
    """

    build: frozenset[str] = frozenset()
    measure: frozenset[str] = frozenset()


def is_installed(name: str) -> bool:
    """Return whether a distribution, or another that brings the same module, is installed."""
    return bool(variants(name))


def missing(names: Iterable[str]) -> list[str]:
    """Return the distributions that are not installed, sorted."""
    return sorted({name for name in names if not is_installed(name)})


def check_installed(who: str, names: Iterable[str]) -> None:
    """Refuse to begin what lacks a package.

    Args:
        who: What needs the packages, for the message, such as ``the pass lora``.
        names: Distributions.

    Raises:
        UsageError: One of them is not installed; with the command that installs it.
    """
    absent = missing(names)
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        raise UsageError(
            f"{who} needs {', '.join(absent)}, which {verb} not installed",
            hint=install_hint(absent),
        )


def install_hint(names: Iterable[str]) -> str:
    """Return the command that installs distributions: by the extras that bring them."""
    chosen: list[str] = []
    others: list[str] = []
    for name in names:
        extra = next((e for e in _PREFERRED if name in _brought_by().get(e, ())), None)
        if extra is None:
            others.append(name)
        elif extra not in chosen:
            chosen.append(extra)
    if any(extra in ("cpu", "gpu", "directml") for extra in chosen):
        chosen = [extra for extra in chosen if extra in ("cpu", "gpu", "directml")][:1]
    ours = [f"'paretune[{','.join(chosen)}]'"] if chosen else []
    return f"Run: pip install {' '.join([*ours, *others])}"


def explained_import(error: BaseException) -> UsageError | None:
    """Return what to say of an import that failed because an extra is not installed.

    Args:
        error: What escaped from a command or a job.

    Returns:
        None if the error is another one, or the module is of no package that an extra brings.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.partition(".")[0].replace("_", "-").lower()
    if not any(name in names for names in _brought_by().values()) or is_installed(name):
        return None
    return UsageError(f"this needs {name}, which is not installed", hint=install_hint([name]))


def requirements() -> Sequence[str]:
    """Return what the installed metadata requires, those of extras with their markers."""
    try:
        return importlib.metadata.requires("paretune") or ()
    except importlib.metadata.PackageNotFoundError:  # run from a checkout, not installed
        return ()


def pinned(names: Iterable[str]) -> tuple[str, ...]:
    """Return requirements that give another machine the versions that are installed here.

    Args:
        names: Distributions. One that is not installed here gets the versions that paretune was
            released against.
    """
    from packaging.requirements import Requirement

    wanted = {normal(r.name): str(r.specifier) for r in map(Requirement, requirements())}
    found = []
    for name in names:
        version = variants(name).get(normal(name), "")
        # A build's own mark, such as 2.13.0+cpu, is not part of what other indexes have.
        exact = f"=={version.partition('+')[0]}" if version else wanted.get(normal(name), "")
        found.append(f"{name}{exact}")
    return tuple(found)


def extras(*names: str) -> tuple[str, ...]:
    """Return the distributions that some of paretune's extras bring."""
    return tuple(dict.fromkeys(each for name in names for each in _brought_by().get(name, ())))


@cache
def _brought_by() -> Mapping[str, tuple[str, ...]]:
    """Return the distributions of each extra; of the base under the empty name."""
    found: dict[str, list[str]] = {}
    for text in requirements():
        name, extra = re.match(r"[\w.-]+", text), re.search(r"""extra\s*==\s*["'](\w+)""", text)
        if name is not None and name[0] != "paretune" and (extra or ";" not in text):
            found.setdefault("" if extra is None else extra[1], []).append(name[0].lower())
    return {extra: tuple(names) for extra, names in found.items()}
