"""Which distribution brings a module: every flavour of a run-time is told with its version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paretune.core import distributions
from paretune.core.distributions import brought_by, package_version, variants
from paretune.targets.device.fingerprint import package_versions


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installed packages are those in this folder alone."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    for made in (distributions._scanned, package_versions):
        made.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for made in (distributions._scanned, package_versions):
        made.cache_clear()


def install(folder: Path, name: str, version: str, module: str, *, record: bool = True) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record:
        lines = [f"{module}/__init__.py,,", f"{info.name}/METADATA,,", "../../bin/tool,,"]
        (info / "RECORD").write_text("\n".join(lines))
    else:
        (info / "top_level.txt").write_text(f"{module}\n")


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize(
    ("package", "flavour", "module"),
    [
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime"),
        ("onnxruntime", "onnxruntime-directml", "onnxruntime"),
        ("onnxruntime", "onnxruntime-openvino", "onnxruntime"),
        ("onnxruntime", "ort-nightly", "onnxruntime"),
        ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime_genai"),
        ("onnxruntime-genai", "onnxruntime-genai-directml", "onnxruntime_genai"),
        ("torch", "torch-nightly", "torch"),
        ("scikit-learn", "scikit-learn-intelex", "sklearn"),
    ],
)
def test_a_flavour_counts_with_its_version(
    installed: Path, package: str, flavour: str, module: str, record: bool
) -> None:
    install(installed, "other", "9", "something")
    if module == "sklearn":  # named unlike its module: known from what is installed beside it
        install(installed, package, "1.0", module, record=record)
        assert package_version(package) == "1.0"
        distributions._scanned.cache_clear()
        install(installed, flavour, "2.0", module, record=record)
        assert package_version(package) == f"{package} 1.0, {flavour} 2.0"
        return
    assert package_version(package) == "absent"
    distributions._scanned.cache_clear()
    install(installed, flavour, "1.22.0", module, record=record)
    assert package_version(package) == f"{flavour} 1.22.0"
    assert brought_by(module) == variants(package) == {flavour: "1.22.0"}
    distributions._scanned.cache_clear()
    install(installed, package, "1.21.0", module, record=record)
    both = f"{package} 1.21.0, {flavour} 1.22.0" if package < flavour else None
    assert package_version(package) == (both or f"{flavour} 1.22.0, {package} 1.21.0")


def test_alone_a_package_has_its_plain_version_as_keys_had_it(installed: Path) -> None:
    install(installed, "onnxruntime", "1.22.0", "onnxruntime")
    install(installed, "torch", "2.5.1+cpu", "torch")
    assert package_version("onnxruntime") == "1.22.0"
    assert package_version("torch") == "2.5.1+cpu"


def test_the_fingerprint_names_every_flavour(installed: Path) -> None:
    install(installed, "onnxruntime-openvino", "1.20.0", "onnxruntime")
    install(installed, "onnxruntime-genai-cuda", "0.8.0", "onnxruntime_genai")
    assert package_versions() == {
        "onnxruntime-genai-cuda": "0.8.0",
        "onnxruntime-openvino": "1.20.0",
    }


def test_what_a_broken_removal_left_is_passed_over(installed: Path) -> None:
    (installed / "gone-1.0.dist-info").mkdir()
    assert package_version("gone") == "absent"
