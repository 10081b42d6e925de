"""The requests of `generation`: each from the same state of the model, prefill and decode timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from paretune.evaluators.generation.workload import Case
from paretune.runtimes.base import Session


@dataclass(frozen=True)
class Request:
    """What one request took, in milliseconds.

    Attributes:
        ttft: From the prompt to the logits of the first token.
        decode: Of each token after it.
        filling: Of the context before it, if this request is the one that filled it.
    """

    ttft: float
    decode: tuple[float, ...]
    filling: float = 0.0


class Stream:
    """Requests of one client, one after another, each from the same state of the model.

    Args:
        session: A loaded model, of this stream alone.
        case: What each request is.
        tokens: The trace: context, prompt, and what is decoded.
    """

    def __init__(self, session: Session, case: Case, tokens: Sequence[int]) -> None:
        self._session = session
        self._case = case
        self._context = list(tokens[: case.context])
        self._prompt = list(tokens[case.context : case.before])
        self._decoded = [(token,) for token in tokens[case.before :]]
        self._filled = False

    def request(self) -> Request:
        """Run one request; the first one fills the context before, which is timed apart."""
        clock, session, held = time.perf_counter_ns, self._session, self._case.context
        begin = clock()
        if held and not self._filled:
            session.begin(self._context, len(self._prompt) + len(self._decoded) + 1)
            self._filled, filling = True, clock() - begin
        else:
            filling = 0
            if held:
                session.rewind(held)
        start = clock()
        if held:
            session.append(self._prompt)
        else:
            session.begin(self._prompt, len(self._decoded) + 1)
        end = clock()
        ttft, decode = end - start, []
        for token in self._decoded:
            start = end
            session.extend(token)
            end = clock()
            decode.append((end - start) / 1e6)
        return Request(ttft / 1e6, tuple(decode), filling / 1e6)
