"""What is imported once for all jobs: what their packages bring, if it starts no thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_jobs import run

from paretune.core import distributions
from paretune.core.distributions import module_of
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.preloading import WORKER, modules_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork server")


def install(folder: Path, name: str, modules: dict[str, str]) -> None:
    """Make a distribution with modules, each with its code."""
    listed = folder / f"{name.replace('-', '_')}-1.dist-info"
    listed.mkdir(parents=True)
    (listed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (listed / "RECORD").write_text("".join(f"{module}.py,,\n" for module in modules))
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the module search path; what is installed is read after the test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    distributions._scanned.cache_clear()
    yield tmp_path
    distributions._scanned.cache_clear()


def test_a_module_is_found_by_its_distribution(site: Path) -> None:
    install(site, "other-name", {"quite_another": ""})
    install(site, "my-pair", {"my_pair": "", "my_pair_tests": ""})
    install(site, "two-modules", {"first_one": "", "second_one": ""})
    found = [module_of(name) for name in ("other-name", "My_Pair", "two-modules", "absent-one")]
    assert found == ["quite_another", "my_pair", None, None]
    assert (module_of("scikit-learn"), module_of("onnxruntime")) == ("sklearn", "onnxruntime")


def test_parts_come_with_the_packages_that_use_them() -> None:
    def more(*packages: str) -> tuple[str, ...]:
        return modules_of(packages)[len(WORKER) :]

    assert more() == ()
    assert more("onnxruntime", "onnx", "not-installed") == ("onnx", "onnxruntime")
    assert more("transformers") == ("transformers", "transformers.models.auto.tokenization_auto")
    assert more("transformers", "onnxruntime-genai", "torch")[:2] == ("torch", "onnxruntime_genai")
    assert more("onnxruntime-genai", "torch")[-1] == "onnxruntime_genai.models.builder"


def test_jobs_of_a_network_import_no_pytorch() -> None:
    with LocalTarget() as target:
        target.preload(["onnxruntime", "numpy", "not-installed"])
        modules = set(run(target, "facts").value["modules"])
    assert {"onnxruntime", "numpy"} <= modules
    assert not {"torch", "transformers", "peft", "onnxruntime_genai"} & modules


@pytest.mark.slow
def test_a_package_with_pyarrow_starts_no_thread() -> None:
    with LocalTarget() as target:
        target.preload(["scikit-learn"])
        assert {"sklearn", "pyarrow"} <= set(run(target, "facts").value["modules"])
        assert psutil.Process(target._launcher.pid).num_threads() == 1


def test_a_package_that_starts_a_thread_is_not_preloaded(site: Path) -> None:
    threading = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    install(site, "with-thread", {"with_thread": threading})
    install(site, "without-thread", {"without_thread": ""})
    with LocalTarget() as target:
        target.preload(["with-thread", "without-thread"])
        modules = set(run(target, "facts").value["modules"])
        assert psutil.Process(target._launcher.pid).num_threads() == 1
    assert "without_thread" in modules
    assert "with_thread" not in modules
