"""Where a search builds and measures: ``target:`` and ``targets:`` of a configuration.

``targets:`` declares machines by name; ``target: {build: NAME, measure: NAME}`` names two of them,
a list several (`paretune.config.target_uses`). Without either, everything runs on this machine
(`local`), or where ``target: {name: ...}`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from paretune.config import azureml_targets, ray_targets
from paretune.config.given import read_config
from paretune.config.known_keys import instead_of
from paretune.config.reading import read_source
from paretune.config.schema import DeclaredTarget, TargetSection, TargetUse
from paretune.config.target_uses import (
    DECLARE,
    builders,
    check_uses,
    device_uses,
    measurers,
    resolved,
)
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.errors import ConfigError, UsageError, nearest
from paretune.core.file_functions import names_function
from paretune.core.jsontools import Json
from paretune.core.packages import UsedPackages
from paretune.core.permissions import Permissions
from paretune.core.target import preload
from paretune.core.user_paths import expanded
from paretune.registry import find, is_ours, names

if TYPE_CHECKING:
    from paretune.core.target import Target

LOCAL = "local"
_HOST = (
    "Write it as ssh takes it: a name from ~/.ssh/config, user@host or, with a port, "
    "ssh://user@host:22."
)


@dataclass(frozen=True)
class TargetPlan:
    """Where a search builds and measures.

    Attributes:
        build: Name of the target that builds. Of several: the first.
        measure: Name of the target that measures; it may be the same. Of several: the first.
        declared: The targets that the configuration declares, by name.
        uses: What runs on each of a list of targets; empty: the configuration has no list.
    """

    build: str = LOCAL
    measure: str = LOCAL
    declared: Mapping[str, DeclaredTarget] = field(default_factory=dict)
    uses: tuple[TargetUse, ...] = ()

    @property
    def builders(self) -> dict[str, int | None]:
        """By name of each target that builds, how many builds run there at once, if given."""
        return {use.name: use.slots for use in builders(self.uses)} or {self.build: None}

    @property
    def slots(self) -> int | None:
        """How many builds run at once, if the list says so for each target that builds."""
        given = [slots for slots in self.builders.values() if slots is not None]
        return sum(given) if len(given) == len(self.builders) else None

    @property
    def builds_in_azure(self) -> bool:
        """Whether all builds run where files in Azure can be read in place."""
        declared = [self.declared.get(name) for name in self.builders]
        return all(target is not None and target.azureml is not None for target in declared)

    def to_json(self) -> dict[str, Json]:
        """Return the keys of ``target:`` that choose targets."""
        if self.build == self.measure:
            return {"name": self.build}
        return {"build": self.build, "measure": self.measure}

    def declared_to_json(self) -> dict[str, Json]:
        """Return ``targets:``."""
        return {n: t.model_dump(exclude_none=True) for n, t in self.declared.items()}

    def open(
        self,
        store_root: Path,
        permissions: Permissions = Permissions(),
        packages: UsedPackages = UsedPackages(),
    ) -> Target:
        """Start the targets; the result runs each job on the right one.

        Args:
            store_root: The artifact store of this machine.
            permissions: What jobs may do.
            packages: What they import, which is preloaded where they run.
        """
        from paretune.targets.split import SplitTarget

        build = open_target(self.build, self.declared, store_root, permissions)
        if self.build == self.measure:
            preload(build, packages.build | packages.measure)
            return build
        preload(build, packages.build)
        try:
            measure = open_target(self.measure, self.declared, store_root, permissions)
        except BaseException:
            build.close()
            raise
        preload(measure, packages.measure)
        return SplitTarget(build, measure)


def open_target(
    name: str,
    declared: Mapping[str, DeclaredTarget],
    store_root: Path,
    permissions: Permissions = Permissions(),
) -> Target:
    """Start one target.

    Args:
        name: That of a declared target, or of one in the registry (``local``).
        declared: The targets that the configuration declares.
        store_root: The artifact store of this machine.
        permissions: What jobs may do.

    Raises:
        UsageError: There is no target of that name, or it cannot be reached.
    """
    common = {"store_root": store_root, "allow_network": permissions.network}
    if name not in declared:
        launcher, options = name, {}
    else:
        target = declared[name]
        launcher, options = target.launcher, {"name": name, **target.options}
        if target.azureml is not None:
            options |= azureml_targets.launcher_options(target.azureml)
    opened: Target = find("targets", launcher)(**common, **options)
    return opened


def declared_in(config: Path, *, alone: bool = False) -> Mapping[str, DeclaredTarget]:
    """Return the targets that a configuration declares; the rest of it is not read.

    Args:
        config: The file.
        alone: Whether it may have nothing else.

    Raises:
        ConfigError: One of them is wrong, or the file cannot be read.
    """
    text, file = read_config(config)
    source = read_source(text, str(file))
    keys = source.value if isinstance(source.value, dict) else {}
    others = [key for key in keys if key != "targets"]
    if alone and (others or not isinstance(source.value, dict | None)):
        message = f"unknown key {others[0]!r}" if others else "expected the key `targets:`"
        raise source.error(tuple(others[:1]), message, DECLARE)
    section = keys.get("targets")
    try:
        found = TypeAdapter(dict[str, DeclaredTarget]).validate_python(section or {})
    except ValidationError as error:
        detail = error.errors()[0]
        at: KeyPath = ("targets", *detail["loc"])
        unknown = detail["type"] == "extra_forbidden"
        hint = instead_of(at) if unknown else None
        message = f"unknown key {at[-1]!r}" if unknown else detail["msg"]
        if detail["type"] in ("model_type", "dict_type"):
            message = "expected keys with values, such as `board: {ssh: HOST}`"
        raise source.error(at, message, hint) from error
    errors: list[ConfigError] = []

    def wrong(path: KeyPath, message: str, hint: str | None = None) -> None:
        errors.append(source.error(path, message, hint))

    read = read_targets(TargetSection(), found, file.parent, wrong)
    if errors:
        raise errors[0]
    return read.declared


def open_for_command(name: str, config: Path | None, store_root: Path) -> Target:
    """Start the target that a command names.

    Args:
        name: ``local``, a target that another package brings, or a declared one.
        config: The configuration that declares it; None: no declared one is known.
        store_root: The artifact store of this machine.

    Raises:
        UsageError: There is no target of that name, or it cannot be reached.
    """
    declared = {} if config is None else declared_in(config)
    known = [LOCAL, *(n for n in names("targets") if not is_ours("targets", n)), *declared]
    if name not in known:
        where = (
            "Name the configuration that declares it (--config FILE), or make it known with "
            "`paretune target add HOST`."
        )
        raise UsageError(
            f"no target named {name!r}", hint=where if config is None else nearest(name, known)
        )
    return open_target(name, declared, store_root)


def read_targets(
    section: TargetSection | Sequence[TargetUse],
    declared: Mapping[str, DeclaredTarget],
    root: Path,
    wrong: Wrong,
) -> TargetPlan:
    """Read where a search builds and measures, and report what is wrong.

    Args:
        section: ``target:``, in either form.
        declared: ``targets:``.
        root: Folder that relative paths start from.
        wrong: Takes a key, what is wrong and what to do.
    """
    known = names("targets")
    found = {}
    for name, target in declared.items():
        path: KeyPath = ("targets", name)
        if name in known:
            wrong(path, f"{name!r} is the name of a target that exists already", "Choose another.")
            continue
        if not name.isprintable() or name.split() != [name]:
            wrong(path, f"{name!r} is not a valid name: expected a name without spaces", None)
        elif target.azureml is not None:
            if (other := _beside_azureml(target)) is not None:
                wrong((*path, other), "stands beside `azureml`", "Leave one of them out.")
            there = azureml_targets.at_home(target.azureml, root, (*path, "azureml"), wrong)
            found[name] = target.model_copy(update={"azureml": there})
            continue
        elif target.ssh is None and target.ray is None and target.python is None:
            wrong(
                path,
                "expected `ssh:` (a host), `python:` (an interpreter), `ray:` (a cluster) or "
                "`azureml:` (a compute)",
                None,
            )
        elif target.ssh is not None and target.ray is not None:
            wrong((*path, "ray"), "stands beside `ssh`", "Leave one of them out.")
        elif target.ssh is not None and not _is_host(target.ssh):
            wrong((*path, "ssh"), f"{target.ssh!r} is not a host", _HOST)
        if target.ray is not None:
            ray_targets.check(target.ray, (*path, "ray"), wrong)
        if target.budget is not None and target.is_here:
            wrong(
                (*path, "budget"),
                f"{name!r} shares the store of this machine",
                "Leave it out. What this store holds: `paretune cache`.",
            )
        _check_paths(target, path, wrong)
        found[name] = _at_home(target, root, path, wrong) if target.is_here else target
    brought = [n for n in known if n == LOCAL or not is_ours("targets", n)]
    allowed = (*brought, *found)
    measure = device_uses(section)[0].name
    if isinstance(section, TargetSection):
        _check_choice(section, found, allowed, wrong)
        return TargetPlan(section.build or section.name, measure, found)
    uses = tuple(resolved(use, found) for use in section)
    check_uses(uses, allowed, found, wrong)
    build = next((use.name for use in builders(uses)), LOCAL)
    return TargetPlan(build, measure, found, uses)


def check_user_code(
    targets: TargetPlan, evaluators: Iterable[tuple[str, Mapping[str, Json]]], wrong: Wrong
) -> None:
    """Refuse evaluators whose code lies on this machine only, where another one measures.

    A function in a file travels, with the modules beside it that it imports.

    Args:
        targets: Where the search measures.
        evaluators: Names and parameters, in configured order.
        wrong: Takes a key, what is wrong and what to do.
    """
    devices = [use.name for use in measurers(targets.uses)] or [targets.measure]
    far = next((name for name in devices if name in targets.declared), None)
    if far is None:
        return
    for i, (name, params) in enumerate(evaluators):
        stays = not any(isinstance(v, str) and names_function(v) for v in params.values())
        if stays and getattr(find("evaluators", name), "runs_user_code", False):
            wrong(
                ("evaluate", i),
                f"{name} runs a function of this machine, which {far!r} does not have",
                "Leave it out, or measure with `target: {measure: local}`.",
            )


def _beside_azureml(target: DeclaredTarget) -> str | None:
    """Return a key of other kinds of targets that was given, too."""
    keys = ("ssh", "python", "store", "budget", "ray")
    return next((key for key in keys if getattr(target, key) is not None), None)


def _is_host(text: str) -> bool:
    """Return whether ssh would take a text as a host, and not as an option."""
    with_port = re.fullmatch(r"[^:/]*:[0-9]+", text) is not None
    return text.isprintable() and text.split() == [text] and text[0] != "-" and not with_port


def _check_paths(target: DeclaredTarget, path: KeyPath, wrong: Wrong) -> None:
    """Refuse texts that name no file on any machine."""
    for key in ("python", "store"):
        given = getattr(target, key)
        if given is not None and not (given.strip() and given.isprintable()):
            problem = "has invisible characters" if given.strip() else "is empty"
            wrong((*path, key), f"{given!r} {problem}", "Give a path, or leave the key out.")


def _at_home(target: DeclaredTarget, root: Path, path: KeyPath, wrong: Wrong) -> DeclaredTarget:
    """Return a target of this machine with absolute paths."""
    changes = {}
    for key in ("python", "store"):
        given = getattr(target, key)
        if given is None:
            continue
        try:
            # Not resolved: a virtual environment's interpreter is a link, and known by its place.
            changes[key] = str((root / expanded(given)).absolute())
        except UsageError as error:
            wrong((*path, key), error.message, error.hint)
    return target.model_copy(update=changes)


def _check_choice(
    section: TargetSection,
    declared: Mapping[str, DeclaredTarget],
    known: Sequence[str],
    wrong: Wrong,
) -> None:
    several = "name" in section.model_fields_set and (section.build or section.measure)
    if several:
        wrong(
            ("target", "name"),
            "stands beside build or measure",
            "Leave `name` out: build and measure say where jobs run.",
        )
    for key in ("name", "build", "measure"):
        name = getattr(section, key)
        if name is None:
            continue
        if name not in known:
            near = nearest(name, known)
            hint = near if declared else f"{near} {DECLARE}"
            wrong(("target", key), f"no target named {name!r}", hint)
    measures = section.measure or section.name
    if measures in declared and not section.threads:
        wrong(
            ("target", "threads"),
            f"is missing: this machine does not know the number of cores of {measures!r}",
            "Write the thread counts to try, such as `threads: [1, 2]`.",
        )
