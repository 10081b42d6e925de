"""What is wanted of a machine behind ssh, and the packages that it needs for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paretune.core.distributions import normal, variants
from paretune.core.errors import UsageError, nearest
from paretune.core.packages import TOKENIZERS, WORKER, extras, install_hint, missing, pinned
from paretune.registry import BUILTIN, evaluator_packages, find, find_pass, names
from paretune.runtimes.serving import packages_of
from paretune.targets.device.providers import FLAVOURS, clashes
from paretune.targets.launchers.far_setup import name_of

Does = Literal["build", "measure", "both"]
"""What a machine may do, as in a configuration."""
RUNTIMES = ("genai", "onnxruntime")
"""What a machine that measures must be able to run if nothing else is wanted."""
_BENCH = "onnxruntime"
"""What the device's own figures are measured with."""
_ON_GPU = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-genai": "onnxruntime-genai-cuda"}
_BUILDING = ("train", "genai")
"""The extras that have what a build needs."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a machine.

    Attributes:
        python: The interpreter to take; None: the first that fits.
        folder: The folder there; None: the default one.
        runtimes: What it must be able to run, if it measures.
        copy_wheels: Whether no index is tried there.
        wheelhouse: A folder of this machine with wheels; None: they are downloaded.
        does: What it may do.
        gpu: Whether the runtimes run on an NVIDIA GPU.
        evaluators: What it must be able to measure by, beside what needs a runtime alone.
    """

    python: str | None = None
    folder: str | None = None
    runtimes: Sequence[str] = RUNTIMES
    copy_wheels: bool = False
    wheelhouse: Path | None = None
    does: Does = "measure"
    gpu: bool = False
    evaluators: Sequence[str] = ()

    @property
    def measures(self) -> bool:
        """Whether it measures."""
        return self.does != "build"

    @property
    def builds(self) -> bool:
        """Whether it builds."""
        return self.does != "measure"

    def check(self) -> None:
        """Refuse what cannot be, before anything is connected to.

        Raises:
            UsageError: A runtime or a folder does not exist, or the wishes exclude each other.
        """
        for runtime in self.runtimes:
            if runtime not in names("runtimes"):
                raise UsageError(
                    f"no runtime named {runtime!r}", hint=nearest(runtime, names("runtimes"))
                )
        for evaluator in self.evaluators:
            if evaluator not in names("evaluators"):
                raise UsageError(
                    f"no evaluator named {evaluator!r}",
                    hint=nearest(evaluator, names("evaluators")),
                )
        if self.wheelhouse is not None and not self.wheelhouse.is_dir():
            raise UsageError(
                f"there is no folder {str(self.wheelhouse)!r}", hint="Give a folder with wheels."
            )
        if not self.measures and (tuple(self.runtimes) != RUNTIMES or self.gpu or self.evaluators):
            raise UsageError(
                "--runtime, --evaluator and --gpu choose what a machine measures with, and this "
                "one only builds",
                hint="Leave them out, or use --does both.",
            )
        if self.builds and not buildable_passes():
            raise UsageError(
                "no pass can run on this machine, and a machine that builds needs the same "
                "versions of their packages as this one",
                hint=install_hint(extras(*_BUILDING)),
            )
        clashing = clashes(name_of(each) for each in self.requirements())
        if clashing:
            raise UsageError(
                f"{' and '.join(clashing[0])} overwrite each other's files: builds need the "
                "variant that is installed here, and measurements the other one",
                hint="Make two targets: --does build --name NAME, and --does measure.",
            )

    def requirements(self) -> tuple[str, ...]:
        """Return what is installed there, in the versions of this machine.

        What builds has exactly these, with the mark of a build (``2.13.0+cpu``): the key of an
        artifact depends on it.
        """
        wanted = {normal(name_of(each)): each for each in pinned(dict.fromkeys(self._measuring()))}
        if self.builds:
            wanted |= {normal(name_of(each)): each for each in _building()}
        return tuple(wanted.values())

    def _measuring(self) -> Iterator[str]:
        yield from WORKER
        if not self.measures:
            return
        yield self._variant(_BENCH)
        for name in self.runtimes:
            yield from map(self._variant, packages_of(find("runtimes", name)))
        for name in self.evaluators:
            yield from evaluator_packages(name)

    def _variant(self, package: str) -> str:
        return _ON_GPU.get(package, package) if self.gpu else package


def buildable_passes() -> tuple[str, ...]:
    """Return the passes of paretune whose packages are installed here.

    Those of other packages are not among them: that package is not installed on other machines.
    """
    return tuple(name for name in BUILTIN["passes"] if not missing(find_pass(name).packages))


def module_of(package: str) -> str:
    """Return the module that a distribution brings."""
    first = next((group[0] for group in FLAVOURS if package in group), package)
    return first.replace("-", "_")


def _building() -> Iterator[str]:
    """Yield requirements of what the passes here use, in exactly the versions of this machine."""
    used = [package for name in buildable_passes() for package in find_pass(name).packages]
    for package in dict.fromkeys([*TOKENIZERS, *extras(*_BUILDING), *used]):
        for name, version in variants(package).items():
            yield f"{name}=={version}"
