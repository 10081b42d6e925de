"""What identifies a pass or an evaluator: its version, code, packages and the files it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from paretune.core.candidate import Step, recipe_to_json
from paretune.core.code_files import Code, code_of, modules_of
from paretune.core.distributions import brought_by, normal
from paretune.core.file_functions import file_of, names_function
from paretune.core.jsontools import Json, canonical
from paretune.core.stamps import Stamped, take
from paretune.registry import entries, find_evaluator, find_pass, is_ours, table
from paretune.runtimes.serving import runtime_named

if TYPE_CHECKING:
    from paretune.passes.base import Pass


_WRITTEN = re.compile(r"(^|_)(out|output|log|journal|trace|dump|save|cache|report)(_|$)")


def pass_key(pass_: Pass, params: Mapping[str, Json], root: Path) -> dict[str, Json]:
    """Return what joins a build's key beside the pass's version and packages; ours: nothing.

    Args:
        pass_: The pass.
        params: As configured.
        root: Where relative paths start.
    """
    found: dict[str, Json] = {}
    if not is_ours("passes", pass_.name):
        found["code"] = _told(code_of_pass(pass_))
        found["distribution"] = _distribution("passes", pass_.name, type(pass_).__module__)
    files = files_named(pass_.Params, params, root)
    if files:
        found["files"] = {file.name: file.sha256 for file in files}
    return found


def read_plugins() -> None:
    """Read what identifies the passes from elsewhere, none of which is run or imported for it.

    A process that is forked for every build does this once: the copies know it then.
    """
    for name, place in table("passes").items():
        module = place.partition(":")[0]
        if not is_ours("passes", name):
            with suppress(Exception):  # as a job that needs it says
                code_of(module)
                _distribution("passes", name, module)


def data_read_by(step: Step) -> tuple[str, ...]:
    """Return the data sets that a pass reads; none if its parameters do not go together."""
    pass_ = find_pass(step.name)
    references = getattr(pass_, "data", None)  # a plug-in that reads none need not say so
    try:
        return () if references is None else tuple(references(pass_.Params(**step.params)))
    except ValidationError:  # values that do not go together: the prechecks say so, candidate wise
        return ()


def device_matters(pass_: Any, params: Mapping[str, Json]) -> bool:
    """Return whether a pass's output depends on times of the device that builds it.

    The pass then has a method ``device_matters(params)``.

    Args:
        pass_: The pass.
        params: Of a step.
    """
    asked: Callable[[Any], bool] | None = getattr(pass_, "device_matters", None)
    try:
        return asked is not None and asked(pass_.Params(**params))
    except ValidationError:  # values that do not go together, as in `data_read_by`
        return False


def run_of(recipe: Sequence[Step]) -> str:
    """Return what names the run of a recipe's last pass; one with another stop is the same run."""
    step = recipe[-1]
    pass_ = find_pass(step.name)
    resumable: Callable[[Any], tuple[Any, float]] | None = getattr(pass_, "resumable", None)
    try:
        params = step.params
        if resumable is not None:
            params = resumable(pass_.Params(**params))[0].model_dump(mode="json")
    except ValidationError:  # values that do not go together, as in `data_read_by`
        pass
    return canonical([recipe_to_json(recipe[:-1]), step.name, params])


def code_of_evaluator(name: str, params: Mapping[str, Json], runtimes: Iterable[str] = ()) -> Code:
    """Return the code from elsewhere that an evaluator runs: its own, and its user's function.

    Args:
        name: The evaluator.
        params: As configured.
        runtimes: Names of the runtimes that it measures with; their code is run, too.
    """
    found = _NOTHING
    for runtime in runtimes:
        if not is_ours("runtimes", runtime):
            found = _joined(found, code_of(type(runtime_named(runtime)).__module__))
    if not is_ours("evaluators", name):
        found = _joined(found, code_of(find_evaluator(name).__module__))
    if getattr(find_evaluator(name), "runs_user_code", False):
        for value in params.values():
            if isinstance(value, str) and ":" in value:
                found = _joined(found, code_of(value.partition(":")[0]))
    return found


def code_of_pass(pass_: Pass) -> Code:
    """Return the code of a pass that comes from elsewhere; nothing for ours."""
    return _NOTHING if is_ours("passes", pass_.name) else code_of(type(pass_).__module__)


_NOTHING = Code((), {})


def _joined(one: Code, other: Code) -> Code:
    files = {file.name: file for file in (*one.files, *other.files)}
    return Code(tuple(files[name] for name in sorted(files)), one.installed | other.installed)


def _told(code: Code) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if code.files:
        found["code"] = {file.name: file.sha256 for file in code.files}
    if code.installed:
        found["imports"] = dict(sorted(code.installed.items()))
    return found


@cache
def _distribution(group: str, name: str, module: str) -> dict[str, str]:
    """Return the distributions behind a plug-in: that of its entry, and those of its module."""
    found = brought_by(module.partition(".")[0])
    for entry in entries(group).select(name=name):
        if entry.dist is not None:
            found = {**found, normal(entry.dist.name): entry.dist.version}
    return found


def files_named(
    kind: type[BaseModel], params: Mapping[str, Json], root: Path
) -> tuple[Stamped, ...]:
    """Return the files that parameters name: templates, word lists, whatever will be read.

    A text that is the path of a file, from the configuration's folder or the working folder, names
    it; so does an entry of a list. Of a function in a file (``post.py:boxes``) the modules that it
    imports count, too. A parameter that names what is written says so, by
    ``parameter(..., writes=True)`` or by its name (``log``, ``out_file``). A folder counts with all
    its files, where the text has a separator in it.

    Args:
        kind: The parameters' class.
        params: As configured.
        root: The configuration's folder.
    """
    found: dict[str, Stamped] = {}
    for name, value in params.items():
        field = kind.model_fields.get(name)
        extra = None if field is None else field.json_schema_extra
        writes = _WRITTEN.search(name) or (isinstance(extra, dict) and extra.get("writes"))
        if field is None or writes or _is_closed(field.annotation):
            continue
        for text in _texts(value):
            for file in _named(text, root):
                found[file.name] = file
    return tuple(found[name] for name in sorted(found))


def _is_closed(annotation: Any) -> bool:
    """Return whether a parameter's values are listed: then none of them is a path."""
    inner = get_args(annotation)
    return bool(inner) and all(isinstance(each, (str, int, type(None))) for each in inner)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def _beside(file: Path, folder: PurePosixPath) -> Iterator[Stamped]:
    """Yield the modules that the file of a function imports, named from where the file is."""
    for name, source in modules_of(file).items():
        if source != file:
            yield take(source, (folder / name).as_posix())


def _named(text: str, root: Path) -> Iterator[Stamped]:
    if not text.strip() or len(text) > 4096 or "\0" in text or "\n" in text:
        return
    path = file_of(text)  # of a function in a file
    for place in (root / path, Path(path)):
        try:
            if place.is_file():
                yield take(place, text)
                if names_function(text):
                    yield from _beside(place, PurePosixPath(path).parent)
                return
            if ("/" in text or "\\" in text) and place.is_dir():
                for file in sorted(place.rglob("*")):
                    if file.is_file():
                        yield take(file, f"{text.rstrip('/')}/{file.relative_to(place)}")
                return
        except OSError:  # too long for a name
            return
