"""The runtime ``torch``: Hugging Face folders in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.traffic import WIDTHS, Traffic, dense_traffic
from paretune.models.adapted import load_adapted
from paretune.models.checkpoint import load_whole
from paretune.models.containment import check_model
from paretune.runtimes.base import GENERATES, SCORES, Logits, Runtime, SamplePrompt, hf_tokenizer
from paretune.runtimes.matrix_products import quickest_products
from paretune.runtimes.sample_program import program

_PROBE_TOKENS = 16


class TorchRuntime(Runtime):
    """Loads and runs Hugging Face folders."""

    name: ClassVar[str] = "torch"
    kinds: ClassVar[frozenset[str]] = frozenset({ModelKind.HF})
    sources: ClassVar[frozenset[str]] = frozenset({ModelKind.HF_ADAPTER})
    offers: ClassVar[frozenset[str]] = frozenset({GENERATES, SCORES})
    packages: ClassVar[tuple[tuple[str, ...], ...]] = (("torch",), ("transformers",))
    usage: ClassVar[str] = '`python sample.py "a prompt"` (needs `transformers`)'

    def load(
        self, model: Model, settings: RuntimeSettings, trust_remote_code: bool
    ) -> TorchSession:
        """Load a folder's weights as fp32; an adapter's together with its base's."""
        if model.kind not in self.sources:
            return TorchSession(model.path, settings, trust_remote_code)
        if model.base is None:
            raise InvalidArtifactError("the base model of the adapter is not known")
        check_model(model.path)
        session = TorchSession(model.base.path, settings, trust_remote_code)
        session.model = load_adapted(session.model, model.path).eval()
        return session

    @contextmanager
    def comparing(
        self, model: Model, provider: str, trust_remote_code: bool
    ) -> Iterator[TorchSession]:
        """Load a model on the candidate's GPU if PyTorch can use it, else on the processor."""
        import torch

        there = provider == "cuda" and torch.cuda.is_available()
        with (
            quickest_products(),
            super().comparing(model, "cuda" if there else "cpu", trust_remote_code) as session,
        ):
            yield session

    def traffic(self, info: ModelInfo, context: int) -> Traffic | None:
        """Return what a model reads and computes: its weights are in fp32 once loaded."""
        return dense_traffic(info, WIDTHS["fp32"], context)

    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        """Load a folder and generate a few tokens; returns the seconds of loading alone."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(settings.threads)
        start = time.perf_counter()
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        load_s = time.perf_counter() - start
        prompt = torch.ones((1, _PROBE_TOKENS), dtype=torch.long)
        with torch.inference_mode():
            model.generate(prompt, max_new_tokens=_PROBE_TOKENS, do_sample=False)
        return load_s

    def sample_program(self, sample: SamplePrompt) -> str:
        """Return a program that needs torch and transformers."""
        return program(_SAMPLE, _SAMPLE_PLAIN, _SAMPLE_CHAT, sample)


class TorchSession:
    """A Hugging Face model in PyTorch, fp32.

    Args:
        folder: A Hugging Face folder with safetensors.
        runtime: Threads; the provider must be ``cpu`` or ``cuda``.
        trust_remote_code: Whether Python code in the folder may run.
    """

    def __init__(
        self, folder: Path, runtime: RuntimeSettings, trust_remote_code: bool = False
    ) -> None:
        import torch

        torch.set_num_threads(runtime.threads)
        self._torch = torch
        self._folder = folder
        self._trusted = trust_remote_code
        self._device = "cuda" if runtime.provider == "cuda" else "cpu"
        try:
            network = load_whole(
                folder, trust_remote_code, InvalidArtifactError, dtype=torch.float32
            )
            self.model = network.to(self._device)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InvalidArtifactError(f"does not load: {error}") from error
        self.model.eval()
        self._cache: Any = None
        ends = self.model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])

    def tokenizer(self) -> Any:
        """Return the transformers tokenizer of the folder."""
        return hf_tokenizer(self._folder, self._trusted)

    def _forward(self, ids: Sequence[int], *, last: bool) -> Logits:
        with self._torch.inference_mode():
            out = self.model(
                input_ids=self._torch.tensor([list(ids)], device=self._device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1 if last else 0,
            )
        self._cache = out.past_key_values
        return out.logits[0].float().cpu().numpy()

    def begin(self, ids: Sequence[int], room: int) -> Logits:
        """Start again with a prompt; returns the logits after it."""
        del room
        self._cache = None
        return self._forward(ids, last=True)[-1]

    def extend(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after each."""
        return self._forward(ids, last=False)

    def append(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after the last one alone."""
        return self._forward(ids, last=True)[-1]

    def rewind(self, length: int) -> None:
        """Forget all but the first tokens."""
        surplus = self._cache.get_seq_length() - length
        if surplus:
            self._cache.crop(-surplus)

    def sequence_logits(self, ids: Sequence[int]) -> Logits:
        """Return the logits after each token of a sequence."""
        self._cache = None
        return self.extend(ids)

    def generate(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return greedily generated token ids."""
        found: list[int] = []
        logits = self.begin(ids, max_new_tokens)
        while len(found) < max_new_tokens:
            found.append(int(logits.argmax()))
            if found[-1] in self._ends:
                break
            logits = self.extend(found[-1:])[-1]
        return found


_SAMPLE = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
tokenizer = AutoTokenizer.from_pretrained(here, local_files_only=True)
{encode}
if not tokens:
    sys.exit("the prompt has no tokens: this tokenizer puts none before a text")
inputs = {{"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens))}}
model = AutoModelForCausalLM.from_pretrained(here, local_files_only=True, dtype=torch.float32)
output = model.generate(**inputs, max_new_tokens={new_tokens}, do_sample=False)
print(tokenizer.decode(output[0, len(tokens) :], skip_special_tokens=True))
'''
_SAMPLE_PLAIN = 'tokens = tokenizer(prompt)["input_ids"]'
_SAMPLE_CHAT = """\
turn = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
tokens = tokenizer(text, add_special_tokens=False)["input_ids"]"""
