"""Our own wheel, from the tree that runs: what a launcher installs on its far side.

``python -m paretune.targets.launchers.wheel DIR`` writes it into a folder. It needs no build tool
and no network: the files are those that this interpreter imports, and the metadata is that of the
installed distribution. Two wheels of the same files are the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import paretune

_EPOCH = (1980, 1, 1, 0, 0, 0)
_KEPT = (".py", ".json", ".typed", ".j2")
_METADATA = ("METADATA", "entry_points.txt")


def build_wheel(folder: Path) -> Path:
    """Write the wheel of the running paretune.

    Args:
        folder: Where; made if it is not there.

    Returns:
        The wheel's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = paretune.__version__
    info = f"paretune-{version}.dist-info"
    made = folder / f"paretune-{version}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={hashed.decode()},{len(content)}")

        for name, path in _files():
            add(name, path.read_bytes())
        for name in _METADATA:
            text = _text(name)
            if text is not None:
                add(f"{info}/{name}", text.encode())
        tags = "Wheel-Version: 1.0\nGenerator: paretune\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        add(f"{info}/WHEEL", tags.encode())
        name = f"{info}/RECORD"
        text = "\n".join([*record, f"{name},,", ""])
        archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return made


def _text(name: str) -> str | None:
    """Return a file of the installed metadata; that of a checkout may lie in an egg-info folder."""
    found = distribution("paretune")
    if name == "METADATA":
        return found.read_text(name) or found.read_text("PKG-INFO")
    return found.read_text(name)


def _files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the package, by its name in an installed tree."""
    for name, root in _roots():
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix in _KEPT:
                yield f"{name}/{path.relative_to(root).as_posix()}", path


def _roots() -> Iterator[tuple[str, Path]]:
    """Yield each folder of the package; of a checkout, some lie beside the first one."""
    own = Path(paretune.__file__).parent
    yield "paretune", own
    project = own.parent / "pyproject.toml"
    if project.is_file():
        places = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]
        for name, folder in places["package-dir"].items():
            if "." in name:
                yield name.replace(".", "/"), own.parent / folder


if __name__ == "__main__":
    print(build_wheel(Path(*sys.argv[1:])))
