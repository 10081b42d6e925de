"""What every runtime keeps to."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.registry import names
from paretune.runtimes.base import CAPABILITIES, Generates, Runs, Runtime, SamplePrompt, Scores
from paretune.runtimes.package import lay_out
from paretune.runtimes.serving import load_session, required_runtime, runtime_named
from paretune.runtimes.settings import BasicSettings
from paretune.testing.declared import imports_nothing_heavy

_PROTOCOLS = {"generates": Generates, "scores": Scores, "runs": Runs}


def check_runtime(name: str, model: Path | str) -> None:
    """Check a registered runtime.

    Args:
        name: As it is registered.
        model: A folder with a small model of a kind that it runs.

    Raises:
        AssertionError: Something that every runtime keeps to does not hold.
    """
    runtime = runtime_named(name)
    declares(runtime, name)
    imports_nothing_heavy(
        f"from paretune.runtimes.serving import runtime_named\nruntime_named({name!r})"
    )
    opened = open_model(Path(model))
    assert opened.kind in runtime.kinds, f"{model} is of kind {opened.kind}"
    refuses(runtime, opened)
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        settings = RuntimeSettings(threads=2, name=name)
        package = lay_out(opened, settings, Path(folder, "package"), link=False)
        runs(runtime, package, settings)


def declares(runtime: Runtime, name: str) -> None:
    """Require the declarations, each of its type."""
    assert runtime.name == name, f"it is registered as {name}, and calls itself {runtime.name}"
    assert runtime.kinds, "it runs at least one kind of model"
    strange = sorted((runtime.kinds | runtime.sources) - set(names("kinds")))
    assert not strange, f"no kind is registered as {strange[0]!r}"
    unknown = sorted(runtime.offers - CAPABILITIES.keys())
    assert runtime.offers, "offers names something that its sessions do"
    assert not unknown, f"offers {unknown[0]!r}, expected some of {', '.join(CAPABILITIES)}"
    assert is_dataclass(runtime.Settings), "Settings is a dataclass"
    assert issubclass(runtime.Settings, BasicSettings), "Settings derives from BasicSettings"
    for each in fields(runtime.Settings):
        assert each.metadata.get("description"), f"{each.name} is declared through `setting`"


def refuses(runtime: Runtime, model: Model) -> None:
    """Require that other kinds of model and unknown settings are refused."""
    for kind in sorted(set(names("kinds")) - runtime.kinds):
        try:
            required_runtime(kind, runtime.name)
        except InvalidArtifactError:
            continue
        raise AssertionError(f"models of kind {kind} are given to it")
    settings = RuntimeSettings(options=(("no_such_setting", 1),), name=runtime.name)
    try:
        load_session(model, settings)
    except UsageError:
        return
    raise AssertionError("a setting that does not exist is taken")


def runs(runtime: Runtime, package: Model, settings: RuntimeSettings) -> None:
    """Require that a package loads twice, does what is offered, and that its program runs."""
    first, second = (load_session(package, settings) for _ in range(2))
    for word, protocol in _PROTOCOLS.items():
        offered = word in runtime.offers
        assert isinstance(first, protocol) == offered, (
            f"its sessions {'lack methods of' if offered else 'have, and offers lacks,'} {word!r}"
        )
    outputs = [runtime.smoke(package, session) for session in (first, second)]
    assert outputs[0] == outputs[1], f"two sessions of one model give {outputs[0]}, {outputs[1]}"
    written = runtime.configured_threads(package.path)
    assert written in (None, settings.threads), f"configure writes {written} threads"
    program = runtime.sample_program(SamplePrompt("a b", chat=False, max_new_tokens=4))
    (package.path / "sample.py").write_text(program, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "sample.py"],
        cwd=package.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"the sample program fails: {ran.stderr}"
