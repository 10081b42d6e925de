"""A conda file becomes the requirements of a worker's environment, line by line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import paretune
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from paretune.config.olive.conda import CondaTranslation, Line, LineStatus, read_conda
from paretune.config.olive.conda_specs import marker_of, read_spec
from paretune.config.olive.worker_packages import worker_packages
from paretune.core.errors import ConfigError
from tests.config.olive.olive_files import SHARED

PAGE = SHARED / "seed" / "conda.yaml"
OWN = """\
name: my_environment
channels:
  - defaults
dependencies:
  - python=3.8.13
  - pip=22.3.1
  - pip:
      - einops
      - accelerate
      - torch>=2.2.0
      - transformers
      - git+https://github.com/microsoft/Olive@some/branch#egg=olive-ai[gpu]
      - --extra-index-url https://aiinfra.pkgs.visualstudio.com/PublicPackages/_packaging/ORT-Nightly/pypi/simple/\x20
      - ort-nightly-gpu==1.18.0.dev20240307004
      - onnxruntime-genai-cuda
"""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def translated(folder: Path, text: str, **files: str) -> CondaTranslation:
    (folder / "conda.yaml").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    found = read_conda(folder / "conda.yaml")
    assert found is not None
    return found


def of(folder: Path, *dependencies: Any, **files: str) -> CondaTranslation:
    return translated(folder, json.dumps({"dependencies": list(dependencies)}), **files)


def line(found: CondaTranslation, text: str) -> Line:
    (one,) = [each for each in found.lines if each.text == text]
    return one


def became(folder: Path, dependency: Any, **files: str) -> tuple[str, str | None]:
    """Return what became of one line of pip, or of conda in a tuple."""
    listed = [dependency[0]] if isinstance(dependency, tuple) else [{"pip": [dependency]}]
    found = of(folder, *listed, **files).lines[0]
    return str(found.status), found.into


def own(name: str, variant: str = "cpu") -> str:
    return str(worker_packages(variant).needed[name])


def check(found: CondaTranslation) -> None:
    """Require that every requirement can be read, and that a worker has what it needs."""
    names = set()
    for text in found.requirements:
        if not text.startswith(("--", "git+")):
            names.add(Requirement(text).name.lower().replace("_", "-"))
    assert names >= worker_packages(found.variant).needed.keys()


def test_each_line_has_its_status_and_reason(tmp_path: Path) -> None:
    found = translated(tmp_path, OWN)
    check(found)
    seen = {each.text: (str(each.status), each.into) for each in found.lines if each.line}
    gpu = worker_packages("gpu").needed
    index = (
        "https://aiinfra.pkgs.visualstudio.com/PublicPackages/_packaging/ORT-Nightly/pypi/simple/"
    )
    assert seen == {
        "name: my_environment": ("dropped", None),
        "channels: defaults": ("dropped", None),
        "python=3.8.13": ("replaced", f"Python {PYTHON}"),
        "pip=22.3.1": ("dropped", None),
        "einops": ("kept", "einops"),
        "accelerate": ("replaced", str(gpu["accelerate"])),
        "torch>=2.2.0": ("replaced", str(gpu["torch"])),
        "transformers": ("replaced", str(gpu["transformers"])),
        "git+https://github.com/microsoft/Olive@some/branch#egg=olive-ai[gpu]": ("replaced", None),
        f"--extra-index-url {index}": ("dropped", None),
        "ort-nightly-gpu==1.18.0.dev20240307004": ("replaced", str(gpu["onnxruntime-gpu"])),
        "onnxruntime-genai-cuda": ("replaced", str(gpu["onnxruntime-genai-cuda"])),
    }
    assert found.variant == "gpu"
    changed = [each for each in found.lines if each.status is not LineStatus.KEPT]
    assert all(each.why for each in changed)
    added = [each for each in found.lines if each.status is LineStatus.ADDED]
    assert {each.into for each in added} == {
        str(value)
        for name, value in gpu.items()
        if name not in ("accelerate", "torch", "transformers") and "onnxruntime" not in name
    }
    numbers = [each.line for each in found.lines if each.line]
    assert numbers == [1, 2, 5, 6, *range(8, 16)]


@pytest.mark.skipif(not PAGE.is_file(), reason="the page's conda file is not in ../shared")
def test_the_pages_file(tmp_path: Path) -> None:
    found = translated(tmp_path, PAGE.read_text())
    check(found)
    by: dict[str, list[str]] = {}
    for each in found.lines:
        by.setdefault(str(each.status), []).append(each.text)
    assert by["kept"] == [
        "einops",
        "azure-keyvault-secrets",
        "azure-identity",
        "huggingface_hub",
    ]
    assert len(by["replaced"]) == 12
    assert [text.split()[0] for text in by["dropped"]] == [
        "name:",
        "channels:",
        "pip=22.3.1",
        "--extra-index-url",
        "--extra-index-url",
    ]


@pytest.mark.parametrize(
    ("text", "name", "versions"),
    [
        ("numpy", "numpy", ""),
        ("numpy=1.26", "numpy", "==1.26.*"),
        ("numpy==1.26.4", "numpy", "==1.26.4"),
        ("numpy=1.26.4=py312h1_0", "numpy", "==1.26.4"),
        ("numpy==1.26.4=py312h1_0", "numpy", "==1.26.4"),
        ("numpy 1.26.* py312_0", "numpy", "==1.26.*"),
        ("numpy 1.26", "numpy", "==1.26"),
        ("numpy=1.26.*", "numpy", "==1.26.*"),
        ("numpy=1.26=*", "numpy", "==1.26.*"),
        ("numpy 1.26*", "numpy", "==1.26.*"),
        ("numpy=*", "numpy", ""),
        ("numpy *", "numpy", ""),
        ("numpy>=1.2,<2", "numpy", ">=1.2,<2"),
        ("numpy >=1.2, <2", "numpy", ">=1.2,<2"),
        ("numpy >= 1.2.*", "numpy", ">=1.2"),
        ("numpy!=1.2", "numpy", "!=1.2"),
        ("numpy~=1.2", "numpy", "~=1.2"),
        ("numpy=1.2|1.3", "numpy", "==1.3"),
        ("conda-forge::numpy=1.2", "numpy", "==1.2.*"),
        ("nvidia/label/cuda-11.8.0::cuda-nvcc", "cuda-nvcc", ""),
        ("numpy[version='>=1.2,<2']", "numpy", ">=1.2,<2"),
        ('numpy[version=">=1.2", build=py_0]', "numpy", ">=1.2"),
        ("ruamel.yaml=0.17", "ruamel.yaml", "==0.17.*"),
        ("_libgcc_mutex=0.1=main", "_libgcc_mutex", "==0.1"),
        ("openssl=1.1.1w_x", "openssl", ""),
    ],
)
def test_condas_notation(text: str, name: str, versions: str) -> None:
    found = read_spec(text)
    assert (found.name, found.versions) == (name, SpecifierSet(versions))


@pytest.mark.parametrize("text", ["", "@x", "=1.2", "numpy>=", "a b=c=d e"])
def test_what_is_no_package(text: str) -> None:
    try:
        read_spec(text)
    except ValueError as error:
        assert "expected" in str(error)


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_text_is_a_package_or_a_clean_error(text: str) -> None:
    try:
        found = read_spec(text)
    except ValueError:
        return
    assert found.name in text


@pytest.mark.parametrize(
    ("dependency", "status", "into"),
    [
        (("pytorch=2.0.1=py3.10_cuda11.8_0",), "replaced", own("torch")),
        (("pytorch::pytorch",), "replaced", own("torch")),
        (("pandas=2.0",), "kept", "pandas==2.0.*"),
        (("pandas=2.0.1=py310_0",), "replaced", "pandas==2.0.1"),
        (("matplotlib-base",), "replaced", "matplotlib"),
        (("tokenizers=0.13",), "replaced", "tokenizers"),
        (("torchvision=0.15",), "replaced", "torchvision"),
        (("cudatoolkit=11.8",), "dropped", None),
        (("libgcc-ng",), "dropped", None),
        (("librosa",), "kept", "librosa"),
        (("_openmp_mutex=5.1=1_gnu",), "dropped", None),
        (("r-base",), "dropped", None),
        (("setuptools=58",), "dropped", None),
        (("python>=3.8",), "kept", f"Python {PYTHON}"),
        ((f"python={PYTHON}",), "kept", f"Python {PYTHON}"),
        ((f"python={PYTHON}.4=h1_0",), "kept", f"Python {PYTHON}"),
        (("python=3.1",), "replaced", f"Python {PYTHON}"),
        (("python",), "kept", f"Python {PYTHON}"),
        ("torch", "replaced", own("torch")),
        (own("torch"), "kept", own("torch")),
        ("Torch[opt]>=2", "replaced", own("torch").replace("torch", "torch[opt]")),
        ("pip", "dropped", None),
        ("nvidia-cublas-cu12==12.1", "dropped", None),
        ("numpy<2", "replaced", own("numpy")),
        ("onnxruntime==1.15", "replaced", own("onnxruntime")),
        ("onnxruntime-openvino", "replaced", own("onnxruntime")),
        ("ort-nightly", "replaced", own("onnxruntime")),
        ("olive-ai", "replaced", None),
        ("git+https://github.com/microsoft/Olive@a/b", "replaced", None),
        ("git+https://github.com/huggingface/peft.git@main", "replaced", own("peft")),
        ("git+https://github.com/me/mine@v1", "kept", "git+https://github.com/me/mine@v1"),
        (
            "git+https://github.com/me/mine@v1#egg=mine[x]&subdirectory=py",
            "kept",
            "mine[x] @ git+https://github.com/me/mine@v1#subdirectory=py",
        ),
        ("git+ssh://git@github.com/me/mine.git", "kept", "git+ssh://git@github.com/me/mine.git"),
        ("-e git+https://x.org/a#egg=a", "kept", "a @ git+https://x.org/a"),
        ("-e .", "dropped", None),
        ("-e .[dev]", "dropped", None),
        ("--editable=./x", "dropped", None),
        ("./x", "dropped", None),
        ("../x.whl", "dropped", None),
        ("wheels/x-1.0-py3-none-any.whl", "dropped", None),
        ("x @ file:///home/me/x", "dropped", None),
        (
            "https://x.org/x-1.0-py3-none-any.whl",
            "kept",
            "x @ https://x.org/x-1.0-py3-none-any.whl",
        ),
        ("https://x.org/torch-1.0-py3-none-any.whl", "replaced", own("torch")),
        ("https://x.org/main.zip", "kept", "https://x.org/main.zip"),
        ("x @ https://x.org/x.tar.gz", "kept", "x @ https://x.org/x.tar.gz"),
        ("x[a,b]>=1; sys_platform == 'linux'", "kept", 'x[a,b]>=1; sys_platform == "linux"'),
        ("x==1 --hash=sha256:ab --hash sha256:cd", "replaced", "x==1"),
        ("x  # why", "kept", "x"),
        ("huggingface_hub==0.20.1", "replaced", "huggingface_hub"),
        ("huggingface_hub<2", "kept", "huggingface_hub<2"),
        ("flash-attn==2.5.8", "replaced", "flash-attn"),
        ("--index-url https://pypi.me/simple", "kept", "--index-url https://pypi.me/simple"),
        ("-i https://pypi.me/simple", "kept", "--index-url https://pypi.me/simple"),
        ("--extra-index-url=https://p.me/s", "kept", "--extra-index-url https://p.me/s"),
        ("--extra-index-url https://download.pytorch.org/whl/cu118", "dropped", None),
        ("-f https://download.pytorch.org/whl/torch_stable.html", "dropped", None),
        (
            "--extra-index-url https://download.pytorch.org/whl/cpu",
            "kept",
            "--extra-index-url https://download.pytorch.org/whl/cpu",
        ),
        ("-f ./wheels", "dropped", None),
        ("--pre", "dropped", None),
        ("--no-cache-dir", "dropped", None),
        ("--trusted-host pypi.me", "kept", "--trusted-host pypi.me"),
        ("--no-binary :all:", "kept", "--no-binary :all:"),
    ],
)
def test_what_becomes_of_a_line(
    tmp_path: Path, dependency: Any, status: str, into: str | None
) -> None:
    assert became(tmp_path, dependency) == (status, into)


def test_files_that_the_file_names(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        {"pip": ["-r a.txt", "fastapi", "-cc.txt", "--requirement b.txt"]},
        a="uvicorn==0.20 \\\n  --hash=sha256:ab\n# a comment\n\n-r b.txt\nnumpy<2  # old\n",
        b="-r a.txt\nrich\n",
        c="fastapi<1\nunnamed<3\n",
    )
    check(found)
    told = [(Path(str(each.file)).name, each.line, each.text) for each in found.lines if each.line]
    assert told == [
        ("conda.yaml", 1, "-r a.txt"),
        ("a.txt", 1, "uvicorn==0.20    --hash=sha256:ab"),
        ("a.txt", 5, "-r b.txt"),
        ("b.txt", 1, "-r a.txt"),
        ("b.txt", 2, "rich"),
        ("a.txt", 6, "numpy<2"),
        ("conda.yaml", 1, "fastapi"),
        ("conda.yaml", 1, "-cc.txt"),
        ("c.txt", 1, "fastapi<1"),
        ("c.txt", 2, "unnamed<3"),
        ("conda.yaml", 1, "--requirement b.txt"),
    ]
    assert line(found, "unnamed<3").status is LineStatus.DROPPED
    assert {"uvicorn==0.20", "fastapi", "fastapi<1", own("numpy")} <= set(found.requirements)


@pytest.mark.parametrize(
    ("selector", "marker"),
    [
        ("linux", "sys_platform == 'linux'"),
        ("not win", "sys_platform != 'win32'"),
        ("osx and arm64", "(sys_platform == 'darwin') and (platform_machine == 'arm64')"),
        ("win or osx", "(sys_platform == 'win32') or (sys_platform == 'darwin')"),
        ("py>=39", "python_version >= '3.9'"),
        ("py < 312", "python_version < '3.12'"),
        ("what else", None),
    ],
)
def test_selectors(tmp_path: Path, selector: str, marker: str | None) -> None:
    assert marker_of(selector) == marker
    found = translated(tmp_path, f"dependencies:\n  - tqdm  # [{selector}]\n  - six\n")
    (into, six) = [each.into for each in found.lines[:2]]
    assert six == "six"
    assert into is not None
    wanted = "tqdm" if marker is None else f"tqdm; {marker}"
    assert Requirement(into) == Requirement(wanted)
    assert ("comment" in str(found.lines[0].why)) == (marker is None)


def test_sections_with_a_selector(tmp_path: Path) -> None:
    text = "dependencies:\n  - sel(win): pywin32\n  - sel(unix): [six, {pip: [tqdm]}]\n"
    found = translated(tmp_path, text)
    assert [each.into for each in found.lines[:3]] == [
        'pywin32; sys_platform == "win32"',
        'six; sys_platform != "win32"',
        'tqdm; sys_platform != "win32"',
    ]


@pytest.mark.parametrize(
    ("dependencies", "variant"),
    [
        (["numpy"], "cpu"),
        (["cudatoolkit=11"], "gpu"),
        ([{"pip": ["olive-ai[cpu]"]}], "cpu"),
        ([{"pip": ["olive-ai[gpu]"]}], "gpu"),
        ([{"pip": ["onnxruntime-genai-directml"]}], "directml"),
        ([{"pip": ["onnxruntime", "onnxruntime-gpu"]}], "gpu"),
    ],
)
def test_the_file_decides_between_the_runtimes(
    tmp_path: Path, dependencies: list[Any], variant: str
) -> None:
    found = of(tmp_path, *dependencies)
    assert found.variant == variant
    check(found)
    runtimes = [text for text in found.requirements if text.startswith("onnxruntime")]
    assert len(runtimes) == 2, "one variant of each"


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        {
            "pip": [
                "--extra-index-url https://me:secret@pypi.me/simple",
                "-f https://x.org/wheels?sig=secret&se=1",
                "git+https://secret@github.com/me/mine",
            ]
        },
    )
    told = json.dumps([each.to_json() for each in found.lines])
    assert "secret" not in told
    assert "me:secret@pypi.me" in found.text("r.txt"), "where it is needed"


@pytest.mark.parametrize(
    ("text", "number", "part"),
    [
        ("dependencies: 3", 1, "expected a list, found 3"),
        ("dependencies:\n  - 3\n", 2, "expected a package such as numpy=1.26, found 3"),
        ("dependencies:\n  - '@'\n", 2, "expected a package such as numpy=1.26, found '@'"),
        ("dependencies:\n  - numpy>=\n", 2, "expected versions such as"),
        ("dependencies:\n  - npm: [x]\n", 2, "expected packages or a section pip:"),
        ("dependencies:\n  - sel(moon): x\n", 2, "the selector 'moon' is not known"),
        ("dependencies:\n  - pip: x\n", 2, "expected a list, found x"),
        ("dependencies:\n  - pip:\n    - {a: b}\n", 3, "expected a requirement of pip"),
        ("dependencies:\n  - pip:\n    - 'a b'\n", 3, "not a requirement of pip: 'a b'"),
        ("dependencies:\n  - pip:\n    - -r none.txt\n", 3, "'none.txt' cannot be read"),
        ("dependencies:\n  - pip:\n    - -r https://x.org/r.txt\n", 3, "nothing is fetched"),
        ("dependencies:\n  - a\ndependencies: []\n", 3, "is given twice"),
        ("dependencies:\n  - !!python/name:os.system x\n", 2, "does not fit"),
    ],
)
def test_what_cannot_be_read_is_an_error_at_its_line(
    tmp_path: Path, text: str, number: int, part: str
) -> None:
    (tmp_path / "conda.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_conda(tmp_path / "conda.yaml")
    assert part in str(error.value)
    assert error.value.line == number


def test_other_files_are_none_of_condas(tmp_path: Path) -> None:
    for name, text in (
        ("a.yaml", "model: m\npasses: []\n"),
        ("b.yaml", "- x\n"),
        ("c.json", '{"dependencies": []}'),
        ("d.yaml", "input_model: {}\ndependencies: []\n"),
    ):
        (tmp_path / name).write_text(text)
        assert read_conda(tmp_path / name) is None


def test_the_command_writes_the_requirements_and_lists_every_line(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text(OWN)
    seen = paretune("import-olive", "conda.yaml", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    for part in (
        "kept (1)",
        "replaced (7)",
        "dropped (4)",
        "added (",
        "conda.yaml:10: torch>=2.2.0",
    ):
        assert part in seen.stdout
    assert "wrote conda.requirements.txt; next: uv pip install -r" in seen.stdout
    text = (tmp_path / "conda.requirements.txt").read_text()
    assert f"# Python {PYTHON}: uv venv" in text
    again = paretune("import-olive", "conda.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "conda.requirements.txt already exists" in again.stderr
    more = paretune("import-olive", "conda.yaml", "--out", "r.txt", "--json", cwd=tmp_path)
    told = json.loads(more.stdout)
    assert (told["written"], told["python"], told["runtimes"]) == ("r.txt", PYTHON, "gpu")
    assert {each["status"] for each in told["lines"]} == {"kept", "replaced", "dropped", "added"}
    (tmp_path / "bad.yaml").write_text("dependencies: 3\n")
    bad = paretune("import-olive", "bad.yaml", cwd=tmp_path)
    assert (bad.returncode, (tmp_path / "bad.requirements.txt").exists()) == (2, False)
