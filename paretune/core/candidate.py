"""What is searched over: steps, recipes, runtime settings and candidates; frozen and JSON-able."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from paretune.core.jsontools import Json, canonical, digest


@dataclass(frozen=True)
class Step:
    """One pass with the parameters that the configuration gives it.

    Attributes:
        name: The pass, as in the registry.
        params: Parameter name to JSON value; what is absent takes the pass's default.
    """

    name: str
    params: Mapping[str, Json] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self._text))

    @cached_property
    def _text(self) -> str:
        # Not the hash itself: it differs from process to process.
        return canonical(dict(self.params))

    def to_json(self) -> dict[str, Json]:
        """Return ``{"pass": name, "params": {...}}``."""
        return {"pass": self.name, "params": dict(self.params)}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Step:
        """Read what `to_json` wrote."""
        return cls(value["pass"], dict(value["params"]))


@dataclass(frozen=True)
class RuntimeSettings:
    """How a model is run: settings that need no rebuild.

    Attributes:
        provider: Execution provider: ``cpu``, ``cuda``, ``dml`` or ``openvino``.
        threads: Intra-op threads (inter-op is 1).
        options: Further settings of the runtime, as pairs of name and value.
        name: The runtime; empty: the default one of the model's kind.
    """

    provider: str = "cpu"
    threads: int = 1
    options: tuple[tuple[str, Json], ...] = ()
    name: str = ""

    @property
    def settings(self) -> dict[str, Json]:
        """All settings of the runtime, without its name."""
        return {"provider": self.provider, "threads": self.threads, **dict(self.options)}

    def to_json(self) -> dict[str, Json]:
        """Return all settings by name, with the runtime's if it is not the default one."""
        return {"name": self.name, **self.settings} if self.name else self.settings

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> RuntimeSettings:
        """Read what `to_json` wrote."""
        known = ("provider", "threads", "name")
        further = tuple((k, v) for k, v in value.items() if k not in known)
        return cls(value["provider"], value["threads"], further, value.get("name") or "")


@dataclass(frozen=True)
class Candidate:
    """A recipe and its runtime settings.

    Attributes:
        recipe: The passes in order; empty for the unchanged input.
        runtime: Provider and threads.
    """

    recipe: tuple[Step, ...]
    runtime: RuntimeSettings = RuntimeSettings()

    @cached_property
    def digest(self) -> str:
        """Content digest of the recipe and the runtime settings."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Json]:
        """Return the recipe as a list of steps, and the runtime settings."""
        return {"recipe": recipe_to_json(self.recipe), "runtime": self.runtime.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Candidate:
        """Read what `to_json` wrote (further keys are passed over)."""
        return cls(recipe_from_json(value["recipe"]), RuntimeSettings.from_json(value["runtime"]))


def recipe_to_json(recipe: Iterable[Step]) -> list[Json]:
    """Return a recipe as a list of JSON steps."""
    return [step.to_json() for step in recipe]


def recipe_from_json(value: Iterable[Mapping[str, Json]]) -> tuple[Step, ...]:
    """Read a recipe from a list of JSON steps."""
    return tuple(Step.from_json(step) for step in value)


def describe(candidate: Candidate, hidden: Set[tuple[str, str]] = frozenset()) -> str:
    """Return a candidate in one short line: ``lora(r=16) > genai(precision=int4) @ cpu x2``.

    Args:
        candidate: What is described.
        hidden: ``(pass, parameter)`` pairs to leave out (see `params_in_common`).
    """
    parts = [describe_step(step, hidden) for step in candidate.recipe]
    return f"{' > '.join(parts) or 'unchanged'} @ {describe_runtime(candidate.runtime, 'x')}"


def further_settings(runtime: RuntimeSettings) -> str:
    """Return what a runtime has beside provider and threads: ``, graph_optimization all``."""
    return "".join(f", {name} {short(value)}" for name, value in runtime.options)


def describe_runtime(runtime: RuntimeSettings, times: str) -> str:
    """Return settings in one short line: ``cpu x2``; what is not always there stands beside it."""
    further = "".join(f" {name}={short(value)}" for name, value in runtime.options)
    name = f"{runtime.name} " if runtime.name else ""
    return f"{name}{runtime.provider} {times}{runtime.threads}{further}"


def describe_step(step: Step, hidden: Set[tuple[str, str]] = frozenset()) -> str:
    """Return one pass in one short line: ``lora(r=16)`` (see `describe`)."""
    shown = ", ".join(
        f"{k}={short(v)}"
        for k, v in step.params.items()
        if k != "train" and (step.name, k) not in hidden
    )
    return f"{step.name}({shown})" if shown else step.name


def short(value: Json) -> str:
    """Return a parameter's value as it is shown in one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + " ".join(short(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}={short(inner)}" for name, inner in value.items()) + "}"
    return str(value)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 thread``, ``2 threads``."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
