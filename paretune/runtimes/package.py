"""The deployable folder: a built model with its runtime settings written in.

What is measured is what is shipped: evaluators are given the folder that `lay_out` makes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import StateError
from paretune.core.folders import link_or_copy
from paretune.core.model import Model
from paretune.models.containment import check_model
from paretune.models.pickles import SUFFIXES as PICKLED
from paretune.runtimes.serving import runtime_of

_LINK_FROM_BYTES = 1 << 20


def lay_out(model: Model, runtime: RuntimeSettings, out: Path, *, link: bool) -> Model:
    """Write a model's deployable folder.

    Args:
        model: The built artifact; it is not changed.
        runtime: Settings to write into it, where its format holds them.
        out: The folder to make; it must not exist.
        link: True: large files become hard links (for measuring; nothing writes there).
            False: everything is copied (for handing over).

    Returns:
        A handle of the folder, with the artifact's digest.
    """
    out.mkdir(parents=True)
    try:
        _lay_out(model, out, link)
    except FileNotFoundError as error:
        raise StateError(
            f"{error.filename} went while {model.path} was copied",
            hint="Was the store cleaned, or the model moved? The same search once more builds what "
            "is missing.",
        ) from error
    served = runtime_of(model.kind, runtime.name)
    if served is not None:
        served.configure(out, runtime)
    return Model(model.kind, out, model.digest, model.base)


def _lay_out(model: Model, out: Path, link: bool) -> None:
    for file in deployable_files(model):
        target = out / file.relative_to(model.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if link and file.stat().st_size >= _LINK_FROM_BYTES:
            link_or_copy(file, target)  # a link in a model becomes a file in a package
        else:
            shutil.copyfile(file, target)


def deployable_files(model: Model) -> list[Path]:
    """Return the files that go into a package: all but those that may be pickled.

    An ONNX model may call its plain weights ``weights.bin``: what a model names is kept.
    """
    files = model.parts
    suspects = {file for file in files if file.suffix.lower() in PICKLED}
    if suspects:
        suspects -= check_model(model.path)
    return [file for file in files if file not in suspects]
