"""The contract of a runtime, and what a session of one can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from paretune.core.candidate import RuntimeSettings
from paretune.core.device import TargetInfo
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelInfo
from paretune.core.resources import physical_cores
from paretune.core.traffic import Traffic
from paretune.models.handle import vocabulary_of
from paretune.models.remote_code import explained
from paretune.runtimes.settings import BasicSettings

GENERATES, SCORES, RUNS = "generates", "scores", "runs"
CAPABILITIES = {
    GENERATES: "generates token ids from token ids",
    SCORES: "gives the logits after token ids",
    RUNS: "takes and gives named arrays",
}
"""What a session may be able to do (`Generates`, `Scores`, `Runs`): what an evaluator `needs`."""
_SMOKE_TOKENS = 4

Logits = Any
"""A float32 numpy array; the last axis is the vocabulary."""


class Tokenizes(Protocol):
    """A loaded model that has a tokenizer."""

    def tokenizer(self) -> Any:
        """Return the transformers tokenizer of the model's folder."""


@runtime_checkable
class Generates(Tokenizes, Protocol):
    """A loaded model that generates."""

    def generate(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return greedily generated token ids, the end token included if it came."""


@runtime_checkable
class Scores(Tokenizes, Protocol):
    """A loaded model that gives logits."""

    def begin(self, ids: Sequence[int], room: int) -> Logits:
        """Start again with a prompt.

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


class Session(Generates, Scores, Protocol):
    """A loaded language model, as every runtime of today offers it."""


@runtime_checkable
class Runs(Protocol):
    """A loaded network of any kind.

    Attributes:
        inputs: Of each input, its type as numpy calls it and its shape, with None for a size that
            is not fixed.
    """

    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]]

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Compute the outputs of a network.

        Args:
            inputs: A numpy array a name.

        Returns:
            A numpy array a name.
        """


@dataclass(frozen=True)
class SamplePrompt:
    """What a package's program is given, and what becomes of it.

    Attributes:
        prompt: What it is given when no prompt is named.
        chat: Whether prompts go through the model's chat template.
        max_new_tokens: How much it generates at most.
        before: Turns of a conversation before each prompt, such as the system's.
        role: Whose turn a prompt is.
    """

    prompt: str
    chat: bool
    max_new_tokens: int
    before: Sequence[Mapping[str, str]] = ()
    role: str = "user"


class Runtime(ABC):
    """Loads models of some kinds and runs them.

    Attributes:
        name: As in messages.
        kinds: Kinds of model that it runs.
        sources: Further kinds that it loads, to compare what was built from them; it does not serve
            them.
        offers: What its sessions can do, of `CAPABILITIES`.
        traffic_counter: Function ``module:name`` that a worker calls with a model's folder and that
            returns what the model reads; empty: `traffic` says it.
        Settings: Its settings, a dataclass; each says what it may be searched over (`setting`).
        packages: Distributions that it needs: of each group one is enough, or one whose name begins
            alike (variants and nightly builds bring the same module).
        usage: How a package's program is run, and what it needs, in Markdown.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    sources: ClassVar[frozenset[str]] = frozenset()
    offers: ClassVar[frozenset[str]]
    Settings: ClassVar[type[BasicSettings]] = BasicSettings
    packages: ClassVar[tuple[tuple[str, ...], ...]] = ()
    traffic_counter: ClassVar[str] = ""
    usage: ClassVar[str]

    def unavailable(self, device: TargetInfo) -> str | None:
        """Return why models cannot be run on a device, and what is missing there; None: they can.

        Args:
            device: Where they would run; it lists the packages that a measurement depends on.
        """
        for group in self.packages:
            if device.packages and not any(name.startswith(group) for name in device.packages):
                return (
                    f"the runtime {self.name} is not available on {device.name!r}: it needs the "
                    f"package {' or '.join(group)}"
                )
        return None

    @abstractmethod
    def load(self, model: Model, settings: RuntimeSettings, trust_remote_code: bool) -> Any:
        """Return a session: it has the methods of every protocol that the runtime offers.

        Args:
            model: Of one of its kinds; its files lie in its folder.
            settings: Provider, threads and whatever else it declares.
            trust_remote_code: Whether Python code in the folder may run.

        Raises:
            InvalidArtifactError: It does not load; holds the loader's message.
        """

    @contextmanager
    def comparing(self, model: Model, provider: str, trust_remote_code: bool) -> Iterator[Any]:
        """Load a model for as long as it is compared with another, on all cores.

        Args:
            model: Of one of its kinds, or of its further `sources`.
            provider: Of the candidate whose build is compared.
            trust_remote_code: Whether Python code in the folder may run.

        Yields:
            A session.

        Raises:
            InvalidArtifactError: It does not load.
        """
        yield self.load(model, RuntimeSettings(provider, physical_cores()), trust_remote_code)

    def traffic(self, info: ModelInfo, context: int) -> Traffic | None:
        """Return what a model reads and computes for a token; None if too little is known.

        Args:
            info: Of one of its kinds, built or predicted.
            context: Tokens in the cache while decoding.
        """
        del info, context
        return None

    @abstractmethod
    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        """Load a model and run it once, in a process that serves it and nothing else.

        Imports what serving needs alone: the process's peak memory is reported.

        Args:
            folder: The model.
            settings: To run it with.

        Returns:
            Seconds from the import being done to the model being loaded.
        """

    def smoke(self, model: Model, session: Any) -> dict[str, Json]:
        """Run a loaded model on a little input; returns the output.

        Raises:
            InvalidArtifactError: It generates nothing, or no tokens of its own.
        """
        vocabulary = vocabulary_of(model)
        prompt = [token % vocabulary if vocabulary else token for token in (1, 3, 5, 7)]
        tokens = session.generate(prompt, _SMOKE_TOKENS)
        if not tokens:
            raise InvalidArtifactError("loads, but generates no token")
        strange = [token for token in tokens if token < 0 or (vocabulary and token >= vocabulary)]
        if strange:
            raise InvalidArtifactError(
                f"generates token {strange[0]}, outside of its vocabulary of {vocabulary}"
            )
        return {"tokens": tokens}

    def configure(self, package: Path, settings: RuntimeSettings) -> None:
        """Write settings into a package, where its format has a place for them."""
        del package, settings

    def configured_threads(self, package: Path) -> int | None:
        """Return the threads that a package is written to run with; None: it does not say."""
        del package
        return None

    def configured_settings(self, package: Path) -> dict[str, Json]:
        """Return the settings that a package is written to run with, those that it says."""
        threads = self.configured_threads(package)
        return {} if threads is None else {"threads": threads}

    @abstractmethod
    def sample_program(self, sample: SamplePrompt) -> str:
        """Return the text of ``sample.py``, which runs a package from its own folder."""


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
