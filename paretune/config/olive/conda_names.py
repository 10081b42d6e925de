"""What is known of packages by their names: conda's names, and what belongs to which runtime."""

from __future__ import annotations

import re

OLIVE = frozenset({"olive-ai", "olive"})
RUNTIMES = {
    **dict.fromkeys(
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-directml",
            "onnxruntime-openvino",
            "onnxruntime-training",
            "ort-nightly",
            "ort-nightly-gpu",
            "ort-nightly-directml",
        ),
        "onnxruntime",
    ),
    **dict.fromkeys(
        ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml"),
        "onnxruntime-genai",
    ),
}
"""Packages that bring a runtime's module; an environment holds one variant of each."""

OF_TORCH = frozenset(
    {"torchvision", "torchaudio", "torchtext", "torchdata", "xformers", "flash-attn", "triton"}
)
"""Packages each version of which is built for one version of torch."""

INSTALLERS = frozenset({"pip", "setuptools", "wheel", "uv", "conda", "mamba"})

_OTHER_NAMES = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "opencv": "opencv-python",
    "py-opencv": "opencv-python",
    "matplotlib-base": "matplotlib",
    "python-sentencepiece": "sentencepiece",
    "msgpack-python": "msgpack",
    "pyqt": "pyqt5",
    "dask-core": "dask",
    "tensorflow-base": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "psycopg2": "psycopg2-binary",
    "python-graphviz": "graphviz",
    "brotli-python": "brotli",
    "pyarrow-core": "pyarrow",
    "faiss": "faiss-cpu",
}
"""Conda's name of a package to PyPI's, where the two differ."""

_SAME_NAMES = frozenset(
    {
        "aiohttp",
        "boto3",
        "colorama",
        "cython",
        "einops",
        "evaluate",
        "fastapi",
        "flask",
        "fsspec",
        "grpcio",
        "h5py",
        "ipykernel",
        "joblib",
        "jupyter",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "networkx",
        "nltk",
        "notebook",
        "numba",
        "onnx",
        "openpyxl",
        "optuna",
        "pandas",
        "pillow",
        "plotly",
        "polars",
        "protobuf",
        "pyarrow",
        "pytest",
        "ray",
        "regex",
        "requests",
        "scikit-image",
        "scikit-learn",
        "scipy",
        "seaborn",
        "six",
        "sympy",
        "tabulate",
        "tensorboard",
        "tensorflow",
        "tiktoken",
        "timm",
        "tqdm",
        "typing-extensions",
        "wandb",
        "xgboost",
    }
)
"""Common packages that have the same name in conda and on PyPI."""

_NO_PYTHON = frozenset(
    {
        "blas",
        "bzip2",
        "c-ares",
        "ca-certificates",
        "cairo",
        "cmake",
        "compilers",
        "cuda",
        "cudatoolkit",
        "cudnn",
        "curl",
        "dbus",
        "expat",
        "ffmpeg",
        "fontconfig",
        "freetype",
        "gettext",
        "giflib",
        "git",
        "git-lfs",
        "glib",
        "gmp",
        "gnutls",
        "graphite2",
        "harfbuzz",
        "hdf5",
        "icu",
        "intel-openmp",
        "jpeg",
        "keyutils",
        "krb5",
        "lame",
        "lcms2",
        "lerc",
        "llvm-openmp",
        "llvmdev",
        "lz4-c",
        "magma",
        "make",
        "mesalib",
        "mkl",
        "mkl-service",
        "mkl_fft",
        "mkl_random",
        "mpc",
        "mpfr",
        "mpich",
        "nasm",
        "nccl",
        "ncurses",
        "nettle",
        "ninja",
        "nodejs",
        "numpy-base",
        "openblas",
        "openh264",
        "openjdk",
        "openjpeg",
        "openmpi",
        "openssl",
        "pcre",
        "pcre2",
        "perl",
        "pixman",
        "pkg-config",
        "python_abi",
        "pytorch-cuda",
        "pytorch-mutex",
        "qt",
        "qt-main",
        "r",
        "readline",
        "snappy",
        "sox",
        "sqlite",
        "svt-av1",
        "tbb",
        "tk",
        "tzdata",
        "unixodbc",
        "vc",
        "wget",
        "x264",
        "x265",
        "xz",
        "yaml",
        "zeromq",
        "zip",
        "zlib",
        "zstd",
    }
)
_NO_PYTHON_FORM = re.compile(
    r"_.*|lib(?!rosa$|cst$|sass$|clang$).*|r-.*|cuda-.*|(gcc|gxx|gfortran|binutils|sysroot|clang|"
    r"clangxx|kernel-headers)([-_].*)?|ld_impl.*|xorg-.*|font-.*|fonts-.*|gst-.*|vs20\d\d.*|vc14.*|"
    r"m2-.*|m2w64-.*|ucrt|perl-.*|nvidia-.*|aws-c-.*|openmpi.*|.*-mutex"
)
_CUDA = re.compile(r"cuda(toolkit|nn)?([-_].*)?|cudnn|nccl|pytorch-cuda|pytorch-gpu|nvidia-.*")

NIGHTLY = re.compile(r"aiinfra\.pkgs\.visualstudio\.com|/ORT-Nightly/|pkgs\.dev\.azure\.com/onnx")
"""Addresses of nightly builds of the runtimes."""
BUILDS_OF_TORCH = re.compile(
    r"download\.pytorch\.org/whl/(?!cpu\b)|download\.pytorch\.org/whl/?$", re.IGNORECASE
)
"""Addresses of builds of torch for one version of CUDA, or nightly ones."""


def pip_name(name: str) -> str:
    """Return PyPI's name of a package of conda; the same name where no other is known."""
    return _OTHER_NAMES.get(name.lower(), name.lower())


def is_known(name: str) -> bool:
    """Return whether PyPI's name of a package of conda is known."""
    return name.lower() in _OTHER_NAMES or name.lower().replace("_", "-") in _SAME_NAMES


def is_python(name: str) -> bool:
    """Return whether a package of conda is a Python package, as far as its name says."""
    plain = name.lower()
    if plain in _OTHER_NAMES:
        return True
    return plain not in _NO_PYTHON and _NO_PYTHON_FORM.fullmatch(plain) is None


def variant_of(name: str, extras: frozenset[str] = frozenset()) -> str | None:
    """Return which variant of the runtimes a package is for: gpu or directml; None: none."""
    plain = name.lower()
    if plain in OLIVE:
        return next((extra for extra in ("gpu", "directml") if extra in extras), None)
    if plain in RUNTIMES:
        if plain.endswith(("-gpu", "-cuda")):
            return "gpu"
        return "directml" if plain.endswith("-directml") else None
    return "gpu" if _CUDA.fullmatch(plain) else None
