"""A model being run: one small interface over ONNX Runtime GenAI and PyTorch.

Token ids come from the tokenizer in the model's folder through `paretune.data.prompts`, the same
way as in training, whichever run-time follows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.jsontools import read_json
from paretune.core.model import Model, ModelKind
from paretune.models.causal_lm import load_whole
from paretune.models.containment import check_model
from paretune.models.remote_code import explained
from paretune.runtimes.genai_adapters import Switch

Logits = Any
"""A float32 numpy array; the last axis is the vocabulary."""


class Session(Protocol):
    """A loaded model."""

    def tokenizer(self) -> Any:
        """Return the transformers tokenizer of the model's folder."""

    def begin(self, ids: Sequence[int], room: int) -> Logits:
        """Start anew with a prompt.

        Args:
            ids: Token ids of the prompt.
            room: How many tokens may follow.

        Returns:
            Logits of the token after the prompt, shape (vocabulary,).
        """

    def extend(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after each, shape (len(ids), vocabulary)."""

    def append(self, ids: Sequence[int]) -> Logits:
        """Append tokens; returns the logits after the last one alone, shape (vocabulary,)."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def sequence_logits(self, ids: Sequence[int]) -> Logits:
        """Return the logits after each token of a sequence, shape (len(ids), vocabulary)."""

    def generate(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return greedily generated token ids, the end token included if it came."""


def open_session(
    model: Model, runtime: RuntimeSettings, *, trust_remote_code: bool = False
) -> Session:
    """Load a model.

    Args:
        model: What to load.
        runtime: What to run it with.
        trust_remote_code: Whether Python code in its folder may run.

    Raises:
        InvalidArtifactError: It does not load; holds the loader's message.
    """
    try:
        check_model(model.path)
    except UsageError as error:
        raise InvalidArtifactError(f"does not load: {error.message}", hint=error.hint) from error
    if model.kind is ModelKind.GENAI:
        return GenaiSession(model.path, runtime, trust_remote_code)
    if model.kind is ModelKind.HF:
        return TorchSession(model.path, runtime, trust_remote_code)
    raise InvalidArtifactError(f"a model of kind {model.kind.value} cannot be run as it is")


def log_softmax(logits: Logits) -> Logits:
    """Return log-probabilities over the last axis, computed in double precision."""
    import numpy as np

    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def hf_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """Return the transformers tokenizer of a folder; nothing is fetched.

    Args:
        folder: A folder with a tokenizer's files.
        trust_remote_code: Whether Python code in it may run.
    """
    from transformers import AutoTokenizer

    with explained(folder, trust_remote_code, InvalidArtifactError):
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )


def import_genai() -> Any:
    """Import onnxruntime_genai with its telemetry off (it is on by default on Linux)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime_genai

    return onnxruntime_genai


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
        options = {"intra_op_num_threads": runtime.threads, "inter_op_num_threads": 1}
        try:
            config = self._og.Config(str(folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
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
        """Start anew with a prompt; returns the logits after it."""
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
        """Start anew with a prompt; returns the logits after it."""
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


def score_continuations(
    session: Session, prompt: Sequence[int], continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-probability of each continuation; those that cannot win get a bound.

    The prompt is computed once. A continuation's log-probability is at most that of its first
    token, so that one whose first token alone is less likely than another's whole is not computed:
    its value is then that upper bound, and still below the best. The largest is always exact.

    Args:
        session: A loaded model.
        prompt: Token ids.
        continuations: Token ids each, not empty.
    """
    first = log_softmax(session.begin(prompt, max(len(c) for c in continuations) + 1))
    scores = [float(first[c[0]]) for c in continuations]
    best = float("-inf")
    for index in sorted(range(len(continuations)), key=lambda i: -scores[i]):
        if scores[index] < best:
            break
        rest = continuations[index]
        if len(rest) > 1:
            after = log_softmax(session.extend(rest[:-1]))
            scores[index] += float(
                sum(row[token] for row, token in zip(after, rest[1:], strict=True))
            )
            session.rewind(len(prompt))
        best = max(best, scores[index])
    return scores
