"""Reads ``runtimes:``: which runtimes are tried, and which of their settings.

``target: {providers, threads}`` is the short form: it gives both settings to every runtime, and in
a configuration without ``runtimes:`` each kind of model is run by its default runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError, create_model

from paretune.config.space_building import SpaceReader, shown
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.core.params import Params, parameter
from paretune.core.plugins import is_ours
from paretune.registry import find_pass
from paretune.runtimes.serving import all_runtimes, runtime_named, runtime_of
from paretune.runtimes.settings import BasicSettings
from paretune.search.runtime_grids import Runtimes, RuntimesByKind, SettingsGrid
from paretune.search.space import Space


@dataclass(frozen=True)
class RuntimeChoice:
    """A runtime and the values to try of each of its settings.

    Attributes:
        name: As in the registry.
        grid: Setting to values, as configured.
    """

    name: str
    grid: Mapping[str, tuple[Json, ...]]

    def to_json(self) -> Json:
        """Return the entry under ``runtimes:``."""
        values = {n: v[0] if len(v) == 1 else list(v) for n, v in self.grid.items()}
        return {self.name: values} if values else self.name


@cache
def settings_model(name: str) -> type[Params]:
    """Return a runtime's settings as a model that checks what a configuration says."""
    kind = runtime_named(name).Settings
    hints = get_type_hints(kind)
    declared: dict[str, Any] = {
        each.name: (hints[each.name], parameter(each.default, **each.metadata))
        for each in fields(kind)
    }
    return create_model(f"Settings of {name}", __base__=Params, __doc__=kind.__doc__, **declared)


def read_runtimes(
    entries: Sequence[Any], reader: SpaceReader, wrong: Wrong
) -> tuple[RuntimeChoice, ...]:
    """Read the entries of ``runtimes:``, and report what is wrong with them.

    Args:
        entries: Each a runtime's name, or one with its settings.
        reader: Reads the values of settings.
        wrong: Takes a key, what is wrong and what to do.
    """
    found: dict[str, RuntimeChoice] = {}
    for i, entry in enumerate(entries):
        path: KeyPath = ("runtimes", i)
        one = {entry: None} if isinstance(entry, str) else entry
        if not isinstance(one, dict) or len(one) != 1:
            wrong(
                path, f"expected a runtime's name or `name: settings`, found {shown(entry)}", None
            )
            continue
        ((name, settings),) = one.items()
        try:
            model = settings_model(name)
        except UsageError as error:
            wrong((*path, name), error.message, error.hint)
            continue
        except (ImportError, AttributeError) as error:
            wrong((*path, name), f"the runtime {name} cannot be imported: {error}", None)
            continue
        if name in found:
            wrong((*path, name), f"the runtime {name} stands here twice", "Join the two entries.")
        grid = reader.grid(f"the runtime {name}", "setting", model, settings, (*path, name))
        found[name] = RuntimeChoice(name, grid or {})
    return tuple(found.values())


def read_settings(given: Mapping[str, Json], path: KeyPath, wrong: Wrong) -> RuntimeSettings | None:
    """Read the settings of one candidate, and report what is wrong with them.

    Args:
        given: By name; ``runtime`` names the runtime.
        path: Key of the candidate.
        wrong: Takes a key, what is wrong and what to do.
    """
    name = given.get("runtime", "")
    settings = {key: value for key, value in given.items() if key != "runtime"}
    try:
        if name:
            fitting = [runtime_named(name)]
        else:
            every = [r for r in all_runtimes() if settings.keys() <= _names(r.name)]
            fitting = every or [runtime_named("genai")]
        settings_model(fitting[0].name)(**settings)
    except UsageError as error:
        wrong((*path, "runtime"), error.message, error.hint)
        return None
    except ValidationError as error:
        unknown = [str(e["loc"][0]) for e in error.errors() if e["type"] == "extra_forbidden"]
        if unknown:
            wrong((*path, min(unknown)), "expected recipe, provider or threads", None)
        else:
            wrong(path, "expected a provider's name and a number of threads", None)
        return None
    return RuntimeSettings.from_json(
        {**settings, "name": "" if is_ours("runtimes", name) else name}
    )


def _names(runtime: str) -> frozenset[str]:
    return frozenset(settings_model(runtime).model_fields)


def tried_anywhere(
    choices: Sequence[RuntimeChoice], setting: str, common: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return every value that any runtime is tried with.

    Args:
        choices: As `read_runtimes` returned them.
        setting: The setting's name.
        common: Its values where an entry gives none.
    """
    every = [choice.grid.get(setting, common) for choice in choices] or [common]
    return tuple(dict.fromkeys(value for values in every for value in values))


def runtimes_by_kind(
    choices: Sequence[RuntimeChoice],
    providers: Sequence[str],
    threads: Sequence[int],
    start: str,
    passes: Iterable[str],
) -> RuntimesByKind | None:
    """Return the settings that each kind of model is run with.

    A kind that none of the runtimes runs has one setting, of the first of them, under which its
    candidates are skipped with the reason.

    Args:
        choices: As `read_runtimes` returned them; empty: each kind's default runtime.
        providers: Where an entry gives none.
        threads: Likewise.
        start: Kind of the input model.
        passes: All that any recipe goes through.

    Returns:
        None: every kind has the same settings, of its default runtime.
    """
    produces = {name: find_pass(name).produces for name in passes}
    common = {"provider": tuple(providers), "threads": tuple(threads)}
    settings = {
        kind: _settings(kind, choices, common)
        for kind in dict.fromkeys((start, *produces.values()))
    }
    grids = [grid for found in settings.values() for grid in found.grids]
    if not choices and not any(grid.name or dict(grid.grid) != common for grid in grids):
        return None
    return RuntimesByKind(start, produces, settings)


def _settings(
    kind: str, choices: Sequence[RuntimeChoice], common: Mapping[str, tuple[Json, ...]]
) -> Runtimes:
    default = runtime_of(kind)
    fitting = [c for c in choices if kind in runtime_named(c.name).kinds]
    if not choices:
        fitting = [RuntimeChoice("" if default is None else default.name, {})]
    found = []
    for choice in fitting or choices[:1]:
        usual = default is not None and choice.name == default.name
        name = "" if usual and is_ours("runtimes", choice.name) else choice.name
        declared = runtime_named(choice.name).Settings if choice.name else BasicSettings
        grid = {**common, "provider": _provided(declared, common["provider"]), **choice.grid}
        if not fitting:
            grid = {setting: values[:1] for setting, values in grid.items()}
        found.append(SettingsGrid(name, grid, declared.without_effect))
    return Runtimes(tuple(found))


def check_provided(kinds: Iterable[str], space: Space, wrong: Wrong) -> None:
    """Report providers of the target that a runtime does not have.

    Args:
        kinds: Of the models that recipes end with.
        space: With the settings of each kind.
        wrong: Takes a key, what is wrong and what to do.
    """
    for kind in kinds:
        for grid in space.runtimes_of(kind).grids:
            runtime = runtime_of(kind, grid.name)
            if runtime is None:
                continue
            known = _providers_of(runtime.Settings)
            unknown = [each for each in grid.grid["provider"] if each not in known]
            if unknown:
                wrong(
                    ("target",),
                    f"the runtime {runtime.name} has no provider {unknown[0]!r}, and models of "
                    f"kind {kind} would be run with it alone",
                    f"It has {', '.join(known)}.",
                )


def _providers_of(declared: type[BasicSettings]) -> tuple[str, ...]:
    return get_args(get_type_hints(declared)["provider"])


def _provided(declared: type[BasicSettings], providers: tuple[Json, ...]) -> tuple[Json, ...]:
    """Return those of the target's providers that a runtime has; all of them if it has none."""
    known = _providers_of(declared)
    return tuple(each for each in providers if each in known) or providers
