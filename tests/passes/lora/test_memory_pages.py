"""A training keeps its memory between operations where the system's share of a step is large."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.passes.lora import memory_pages as module
from paretune.passes.lora.lora import Lora
from paretune.passes.lora.memory_pages import MemoryPages, memory_pages
from tests.pass_bench import Bench


def decided(*shares: float, step: float = 1.0) -> tuple[list[bool], list[str | None]]:
    """Return how pages were switched, and what was said, for the system's share of each step.

    Between two steps the system takes all of a second, as for a checkpoint.
    """
    user = system = 0.0
    seen: list[bool] = []
    pages = MemoryPages(seen.append, lambda: (user, system))
    said = []
    for share in shares:
        system += 1
        pages.step_began()
        user, system = user + (1 - share) * step, system + share * step
        said.append(pages.step_ended())
    return seen, said


def test_nothing_is_switched_where_the_system_takes_little() -> None:
    assert decided(0.5, 0.02, 0.5, 0.5) == ([], [None] * 4)


def test_steps_that_are_too_short_to_be_timed_decide_nothing() -> None:
    assert decided(0.5, 0.3, 0.5, 0.5, step=0.04) == ([], [None] * 4)


def test_pages_are_kept_where_that_helps() -> None:
    switched, said = decided(0.5, 0.3, 0.6, 0.01, 0.3)
    assert switched == [True]
    assert said[1] == "the system took 30% of a step: memory is kept between operations"
    assert [note for note in said if note] == [said[1]]


def test_pages_are_not_kept_where_that_does_not_help() -> None:
    switched, said = decided(0.5, 0.3, 0.3, 0.2, 0.3)
    assert switched == [True, False]
    assert said[3] == "the system still takes 20% of a step: memory is not kept"


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")],
)
def test_settings_of_the_environment_stand(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with memory_pages() as pages:
        assert pages is None


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_glibc", lambda: None)
    with memory_pages() as pages:
        assert pages is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_training_lets_its_steps_decide(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from paretune.passes.lora import trainer

    if torch.cuda.is_available():
        pytest.skip("the training would run on the GPU")
    switched: list[bool] = []
    half = iter(range(100))  # of each step, the system took half

    @contextmanager
    def dear() -> Iterator[MemoryPages]:
        yield MemoryPages(switched.append, lambda: (n := float(next(half)), n))

    params = {"train": "tone.train", "r": 4, "max_steps": 5, "batch_size": 4}
    plain = bench.run(Lora(), tiny, params, "plain")
    monkeypatch.setattr(trainer, "memory_pages", dear)
    seen: list[Progress] = []
    other = bench.run(Lora(), tiny, params, "dear", progress=seen.append)
    assert switched == [True, False]
    assert [each.done for each in seen if "memory is" in each.note] == [2, 4]
    names = ("adapter_model.safetensors", "training.json")
    assert all((plain / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_glibcs_own_thresholds_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self) -> None:
            self.settings: dict[int, int] = {}
            self.trimmed = False

        def mallopt(self, parameter: int, value: int) -> None:
            self.settings[parameter] = value

        def malloc_trim(self, pad: int) -> None:
            self.trimmed = True

    libc = Library()
    monkeypatch.setattr(module, "_glibc", lambda: libc)
    monkeypatch.setattr(module, "_LEAST", 1e-9)
    monkeypatch.setattr(module, "_WORTH", 0.0)
    with memory_pages() as pages:
        assert pages is not None
        assert [pages.step_ended() is not None for _ in range(2)] == [False, True]
        assert libc.settings[-4] == 0
    # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX: glibc's largest by itself
    assert libc.settings == {-1: 64 << 20, -3: 32 << 20, -4: 65_536}
    assert libc.trimmed


_STEPS = """
import ctypes, resource
import numpy as np
from paretune.passes.lora import memory_pages

memory_pages._LEAST = 1e-9
ctypes.CDLL(None).mallopt(-3, 65_536)  # blocks from 64 KiB on are given back at once

def faults(megabytes=4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(60):
        np.zeros(megabytes << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def step():
    pages.step_began()
    found = faults()
    pages.step_ended()
    return found

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def returned(blocks, megabytes, above=0):
    held = [np.ones(megabytes << 20, np.uint8) for _ in range(blocks)]
    stays = np.ones(above << 20, np.uint8) if above else None
    full = resident()
    del held
    return (full - resident()) / 2**20

with memory_pages.memory_pages() as pages:
    seen = [step() for _ in range(4)]
    assert pages.kept, seen
    assert seen[1] > 20 * seen[3], seen
    assert max(returned(1, 256), returned(10, 20)) < 5
    kept = resident()
assert resident() < kept - (200 << 20), (resident(), kept)
# As glibc's own adaptation leaves it: large blocks are returned, smaller ones are used again.
assert returned(1, 256, above=1) > 250
assert all(faults(size) < 20_000 for size in (2, 8, 20))
print("seen", seen)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
def test_the_c_library_keeps_its_pages_and_gives_them_back() -> None:
    if module._glibc() is None:
        pytest.skip("another C library than glibc")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    ran = subprocess.run(
        [sys.executable, "-c", _STEPS], capture_output=True, text=True, env=clean, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "seen" in ran.stdout
