"""The runtime ``genai``: ONNX Runtime GenAI, for packages with a ``genai_config.json``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import read_json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.traffic import WIDTHS, Traffic, dense_traffic
from paretune.runtimes.base import GENERATES, SCORES, Logits, Runtime, SamplePrompt, hf_tokenizer
from paretune.runtimes.genai_adapters import Switch
from paretune.runtimes.sample_program import program

_PROVIDERS = {"cuda": "cuda", "dml": "dml"}
_PROBE_TOKENS = 16
_QUANTIZED = ("int8", "int4")
_SCALE_BYTES = 4
_DEFAULT_BLOCK = 32


def import_genai() -> Any:
    """Import onnxruntime_genai with its telemetry off (it is on by default on Linux)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime_genai

    return onnxruntime_genai


class GenaiRuntime(Runtime):
    """Loads and runs packages of ONNX Runtime GenAI."""

    name: ClassVar[str] = "genai"
    kinds: ClassVar[frozenset[str]] = frozenset({ModelKind.GENAI})
    offers: ClassVar[frozenset[str]] = frozenset({GENERATES, SCORES})
    traffic_counter: ClassVar[str] = "paretune.models.onnx_traffic:count"
    packages: ClassVar[tuple[tuple[str, ...], ...]] = (("onnxruntime-genai",),)
    usage: ClassVar[str] = '`python sample.py "a prompt"` (needs `onnxruntime-genai`)'

    def load(
        self, model: Model, settings: RuntimeSettings, trust_remote_code: bool
    ) -> GenaiSession:
        """Load a package; the settings win over what it says itself."""
        return GenaiSession(model.path, settings, trust_remote_code)

    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        """Load a package and generate a few tokens; returns the seconds of loading alone."""
        og = import_genai()
        start = time.perf_counter()
        config = og.Config(str(folder))
        config.overlay(json.dumps(_session_options(settings.threads)))
        model = og.Model(config)
        adapters = Switch(og, model, folder)
        load_s = time.perf_counter() - start
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=2 * _PROBE_TOKENS, do_sample=False)
        generator = adapters.apply(og.Generator(model, params))
        generator.append_tokens([1] * _PROBE_TOKENS)
        for _ in range(_PROBE_TOKENS - 1):
            if generator.is_done():
                break
            generator.generate_next_token()
        return load_s

    def configure(self, package: Path, settings: RuntimeSettings) -> None:
        """Write provider and threads into the package's ``genai_config.json``."""
        file = package / "genai_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        options = config["model"]["decoder"].setdefault("session_options", {})
        options["intra_op_num_threads"] = settings.threads
        options["inter_op_num_threads"] = 1
        name = _PROVIDERS.get(settings.provider)
        # The processor is what runs where no provider is listed.
        options["provider_options"] = [] if name is None else [{name: {}}]
        file.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")

    def traffic(self, info: ModelInfo, context: int) -> Traffic | None:
        """Return what a build reads and computes; a quantized one reads its scales too."""
        width = WIDTHS.get(info.precision)
        if width is not None and info.precision in _QUANTIZED and "block_size" in info.built_with:
            width += _SCALE_BYTES / int(info.built_with["block_size"] or _DEFAULT_BLOCK)
        return dense_traffic(info, width, context)

    def configured_threads(self, package: Path) -> int | None:
        """Return the threads that the package's ``genai_config.json`` sets."""
        decoder = read_json(package / "genai_config.json")["model"]["decoder"]
        own = decoder.get("session_options", {}).get("intra_op_num_threads")
        return own if isinstance(own, int) and own > 0 else None

    def sample_program(self, sample: SamplePrompt) -> str:
        """Return a program that takes GenAI's tokenizer where transformers is not installed."""
        differs = ' or note.get("chat_differs")' if sample.chat else ""
        return program(_SAMPLE, _SAMPLE_PLAIN, _SAMPLE_CHAT, sample, chat_differs=differs)


def _session_options(threads: int) -> dict[str, Any]:
    """Return what is laid over a package's configuration to run it with so many threads."""
    options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
    return {"model": {"decoder": {"session_options": options}}}


class GenaiSession:
    """A model in ONNX Runtime GenAI.

    Args:
        folder: An ONNX Runtime GenAI folder.
        runtime: Provider and threads; they win over what the folder says.
        trust_remote_code: Whether Python code of its tokenizer may run.
    """

    def __init__(
        self, folder: Path, runtime: RuntimeSettings, trust_remote_code: bool = False
    ) -> None:
        self._og = import_genai()
        self._folder = folder
        self._trusted = trust_remote_code
        self._generator: Any = None
        self._own: Any = None
        self._note: dict[str, Any] = {}
        try:
            config = self._og.Config(str(folder))
            config.overlay(json.dumps(_session_options(runtime.threads)))
            if runtime.provider != "cpu":
                config.clear_providers()
                config.append_provider(runtime.provider)
            self.model = self._og.Model(config)
            self.adapters = Switch(self._og, self.model, folder)
        except (RuntimeError, self._og_error()) as error:
            raise InvalidArtifactError(f"does not load: {error}") from error
        settings = read_json(folder / "genai_config.json")["model"]
        self._context = int(settings.get("context_length", 2048))
        ends = settings.get("eos_token_id", [])
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])

    def _og_error(self) -> type[Exception]:
        found: type[Exception] = getattr(self._og, "OrtException", RuntimeError)
        return found

    def tokenizer(self) -> Any:
        """Return the transformers tokenizer of the folder."""
        return hf_tokenizer(self._folder, self._trusted)

    def own_ids(self, text: str, chat: bool) -> list[int]:
        """Return the token ids that the package's own tokenizer gives a text.

        With what ``paretune_tokenizer.json`` says must be put before them; what that file marks as
        different is fed with the transformers tokenizer's ids, so that nothing can differ.
        """
        if self._own is None:
            self._own = self._og.Tokenizer(self.model)
            note = self._folder / "paretune_tokenizer.json"
            self._note = read_json(note) if note.is_file() else {}
        if self._note.get("differs"):
            found: list[int] = self.tokenizer()(text)["input_ids"]
            return found
        before = [] if chat else self._note.get("prepend", [])
        return [*before, *map(int, self._own.encode(text))]

    def _new_generator(self, length: int) -> Any:
        if length > self._context:
            raise InvalidArtifactError(
                f"{length} tokens are needed, and the model's context holds {self._context}"
            )
        params = self._og.GeneratorParams(self.model)
        params.set_search_options(max_length=length, do_sample=False, batch_size=1)
        return self.adapters.apply(self._og.Generator(self.model, params))

    def begin(self, ids: Sequence[int], room: int) -> Logits:
        """Start again with a prompt; returns the logits after it."""
        try:
            self._generator = self._new_generator(len(ids) + room)
            self._generator.append_tokens(list(ids))
            return self._generator.get_logits().reshape(-1)
        except (RuntimeError, self._og_error()) as error:
            raise InvalidArtifactError(f"loads, but does not run: {error}") from error

    def extend(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after each."""
        self._generator.append_tokens(list(ids))
        logits = self._generator.get_output("logits")
        return logits.reshape(-1, logits.shape[-1])[-len(ids) :]

    def append(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after the last one alone."""
        self._generator.append_tokens(list(ids))
        return self._generator.get_logits().reshape(-1)

    def rewind(self, length: int) -> None:
        """Forget all but the first tokens (the logits of before stay stale until an extend)."""
        self._generator.rewind_to(length)

    def sequence_logits(self, ids: Sequence[int]) -> Logits:
        """Return the logits after each token of a sequence."""
        self._generator = self._new_generator(len(ids) + 1)
        return self.extend(ids)

    def generate(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return greedily generated token ids."""
        found: list[int] = []
        try:
            generator = self._new_generator(len(ids) + max_new_tokens)
            generator.append_tokens(list(ids))
            while len(found) < max_new_tokens and not generator.is_done():
                generator.generate_next_token()
                found.append(int(generator.get_next_tokens()[0]))
                if found[-1] in self._ends:
                    break
        except (RuntimeError, self._og_error()) as error:
            raise InvalidArtifactError(f"loads, but does not generate: {error}") from error
        return found


_SAMPLE = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the runtime is imported
import onnxruntime_genai as og

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)
note = here / "paretune_tokenizer.json"  # there if GenAI's tokenizer is known to give other tokens
note = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {{}}
try:  # the tokenizer that this model was measured with
    from transformers import AutoTokenizer
except ImportError:
    measured = None
else:
    measured = AutoTokenizer.from_pretrained(str(here), local_files_only=True)
if measured is None and (note.get("differs"){chat_differs}):
    sys.exit(
        "GenAI's tokenizer gives other tokens than this model was measured with; "
        "install transformers, whose tokenizer is used then: pip install transformers"
    )
{encode}
if not tokens:
    sys.exit("the prompt has no tokens: this tokenizer puts none before a text")
settings = json.loads((here / "genai_config.json").read_text(encoding="utf-8"))
room = settings["model"]["context_length"]
if len(tokens) >= room:
    sys.exit(f"the prompt has {{len(tokens)}} tokens, and the model's context holds {{room}}")
params = og.GeneratorParams(model)
params.set_search_options(max_length=min(len(tokens) + {new_tokens}, room), do_sample=False)
generator = og.Generator(model, params)
beside = here / "paretune_adapters.json"  # there if an adapter lies apart from its base
if beside.exists():
    listed = json.loads(beside.read_text(encoding="utf-8"))
    adapters = og.Adapters(model)
    for name, file in listed["adapters"].items():
        adapters.load(str(here / file), name)
    if listed["active"] is not None:
        generator.set_active_adapter(adapters, listed["active"])  # another name: another adapter
generator.append_tokens(tokens)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
print()
'''
_SAMPLE_PLAIN = """\
if measured is not None:
    tokens = measured(prompt)["input_ids"]
else:
    tokens = [*note.get("prepend", []), *map(int, tokenizer.encode(prompt))]"""
_SAMPLE_CHAT = """\
turn = [{"role": "user", "content": prompt}]
if measured is not None:
    text = measured.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    tokens = measured(text, add_special_tokens=False)["input_ids"]
else:
    text = tokenizer.apply_chat_template(json.dumps(turn), add_generation_prompt=True)
    tokens = [*map(int, tokenizer.encode(text))]"""
