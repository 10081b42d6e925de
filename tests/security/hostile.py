"""What an attacker would hand over: models and texts that try to get out of their place."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTROLS = (
    "\x1b[31mred\x1b[0m",  # colours
    "\x1b]0;title\x07",  # the window's title, ended by a bell
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",  # a link
    "\x1b]52;c;ZXZpbA==\x07",  # the clipboard
    "\x9b2J\x9d0;x\x9c",  # the same by C1 controls
    "\x07\x08\x0b\x0c\x7f\x00",
    "over\rwritten",
    "\u202egnp.exe\u202c \u2066isolate\u2069 \u200ehidden\u200b",  # bidirectional overrides
    "\ue000\U000f0000",  # private use
)
"""Texts that do something to a terminal, or hide in it."""

MARKUP = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style></select><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    '" onfocus="alert(1)" autofocus="',
    "<a href='javascript:alert(1)'>b</a>",
    "<b>bold</b><br><i>x</i>",
    "<!--<script>",
    "{{ 7*7 }}{% raw %}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028\u2029",
)
"""Texts that try to become part of a page."""

MARKDOWN = (
    "[click](javascript:alert(1))",
    "![image](https://evil.example/x.png)",
    "<script>alert(1)</script>",
    "a | b\n|---|---|\n| c | d |",
    "\n# A heading\n\n- an item\n\n```\ncode\n```\n",
    "`code` **bold** _em_ ~~gone~~",
    "https://evil.example www.evil.example",
    "&lt;script&gt; &#60;b&#62;",
    "[ref]: javascript:alert(1)",
    "a\\",
    "1. one",
)
"""Texts that try to become part of a Markdown document."""


class Touch:
    """An object that makes a file as soon as it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self._sign,))


def write_pickle(path: Path, sign: Path) -> Path:
    """Write a pickle that makes the file `sign` when it is read."""
    path.write_bytes(pickle.dumps({"weight": Touch(sign)}))
    return path


def safetensors(header: Any, data: bytes = b"") -> bytes:
    """Return a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_hugging_face(folder: Path, **config: Any) -> Path:
    """Write a Hugging Face folder of one small tensor."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    tensor = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (folder / "model.safetensors").write_bytes(safetensors(tensor, bytes(4)))
    return folder


def write_genai(folder: Path, onnx: bytes = b"", **decoder: Any) -> Path:
    """Write an ONNX Runtime GenAI folder, its ONNX model by default one of nothing."""
    folder.mkdir(parents=True)
    decoder = {"filename": "model.onnx", "session_options": {}, **decoder}
    config = {"model": {"type": "llama", "vocab_size": 8, "decoder": decoder}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "model.onnx").write_bytes(onnx or b"\x08\x0a")
    return folder


CODE = """\
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({sign!r}).touch()


class EvilConfig(LlamaConfig):
    model_type = "evil"


class EvilForCausalLM(LlamaForCausalLM):
    config_class = EvilConfig


class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


def add_code(folder: Path, sign: Path, *, needed: bool) -> Path:
    """Put Python code into a Hugging Face folder that makes the file `sign` when it runs.

    Args:
        folder: A complete folder of a Llama.
        sign: The file.
        needed: True: no library knows the model without that code.
    """
    (folder / "evil.py").write_text(CODE.format(sign=str(sign)))
    names = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilForCausalLM"}
    tokenizer = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}
    changes: dict[str, dict[str, Any]] = {
        "config.json": {"auto_map": names, "trust_remote_code": True},
        "tokenizer_config.json": {"auto_map": tokenizer, "trust_remote_code": True},
    }
    if needed:
        changes["config.json"]["model_type"] = "evil"
        changes["tokenizer_config.json"]["tokenizer_class"] = "EvilTokenizer"
    for name, change in changes.items():
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    return folder


def write_llama(folder: str) -> None:
    """Write a small Llama; for workers, as it needs PyTorch."""
    from tests.tiny_models import make_tiny_llama

    make_tiny_llama(Path(folder))


def generate(folder: str, trust_remote_code: bool) -> list[int]:
    """Load a Hugging Face model and generate with it; for workers."""
    from paretune.core.candidate import RuntimeSettings
    from paretune.core.model import Model, ModelKind
    from paretune.runtimes.serving import open_session

    model = Model(ModelKind.HF, Path(folder), "")
    session = open_session(model, RuntimeSettings("cpu", 1), trust_remote_code=trust_remote_code)
    session.tokenizer()
    return session.generate([1, 3], 2)
