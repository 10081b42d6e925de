"""Checks the data with the model's tokenizer, before the first job: lengths, labels, templates.

The check runs as a job, in a worker: the tokenizer is not trusted, and its library is heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from paretune.core.errors import DataError, ParetuneError, PassError, UsageError
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.jsontools import Json, canonical
from paretune.data.rows import rows_told
from paretune.preflight.label_tokens import check_labels
from paretune.preflight.rows_too_long import ParameterTooLargeError, RowsTooLongError, all_of
from paretune.search.sample import covering

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target
    from paretune.data.catalog import DataCatalog, Dataset
    from paretune.data.example_tokens import ExampleEncoder

_LIMITS = Limits(seconds=900.0)
_PROMPTS_RENDERED = 100


def check_tokens(
    plan: Plan, baseline: Candidate, target: Target, catalog: DataCatalog
) -> tuple[str, ...]:
    """Check the data with the model's tokenizer, its chat template and its context.

    Args:
        plan: A checked configuration.
        baseline: Its baseline.
        target: Where the job runs.
        catalog: The plan's data sets.

    Returns:
        Notes.

    Raises:
        DataError: A row cannot be used in any candidate; all errors are reported together.
    """
    uses = [*_trainings(plan, baseline), *_measurements(plan)]
    uses = [use for use in uses if not catalog.is_arrays(str(use["ref"]))]
    far = sorted({str(use["ref"]) for use in uses if catalog.far(use["ref"]) is not None})
    uses = [use for use in uses if use["ref"] not in far]
    unseen = tuple(
        f"data {ref}: its rows are read on the target only; their lengths in tokens are not "
        "checked before the first build"
        for ref in far
    )
    if not uses:
        return unseen
    folder = plan.base or plan.model
    args = {
        "folder": str(folder),
        "data": catalog.to_json(),
        "uses": uses,
        "trust_remote_code": plan.permissions.remote_code,
    }
    call = Call("paretune.preflight.token_checks:looked_at", args)
    result = target.submit(Job(call, _LIMITS)).result()
    if result.status is not JobStatus.OK:
        told = f"the data could not be checked with the model's tokenizer: {result.reason}"
        return (*unseen, told)
    wrong = [_error_of(plan, found) for found in result.value["wrong"]]
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        told = "\n".join(map(str, wrong))
        raise DataError(f"{len(wrong)} errors in the data:\n{told}")
    return (*unseen, *result.value["notes"])


def _error_of(plan: Plan, found: Mapping[str, Json]) -> UsageError:
    """Return an error at the key that causes it, or about the data."""
    key, message, hint = found.get("key"), found["message"], found["hint"]
    return plan.wrong_at(tuple(key), message, hint) if key else DataError(message, hint=hint)


def _trainings(plan: Plan, baseline: Candidate) -> list[dict[str, Json]]:
    """Return each way in which the plan's candidates train on a data set, once."""
    from paretune.passes.lora.params import LoraParams
    from paretune.registry import find_pass

    found: dict[str, dict[str, Json]] = {}
    for candidate in (baseline, *plan.try_first, *covering(plan.space)):
        for step in candidate.recipe:
            kind = find_pass(step.name).Params
            if not issubclass(kind, LoraParams):
                continue
            try:
                params = kind(**step.params)
            except ValidationError:
                continue  # ruled out with its reason by the prechecks
            for ref in filter(None, (params.train, params.eval_data)):
                use: dict[str, Json] = {
                    "kind": "train",
                    "name": step.name,
                    "ref": ref,
                    "max_length": params.max_length,
                    "loss_on": params.loss_on,
                }
                found[canonical(use)] = use
    return list(found.values())


def _measurements(plan: Plan) -> list[dict[str, Json]]:
    """Return how the evaluators that ship with paretune use tokens of data."""
    return [
        {
            "kind": choice.name,
            "params": dict(choice.params),
            "ref": choice.params["data"],
            "key": ["evaluate", index, choice.name],
        }
        for index, choice in enumerate(plan.evaluators)
        if choice.name in _OF_EVALUATOR
    ]


def looked_at(
    folder: str, data: Json, uses: Sequence[Mapping[str, Json]], trust_remote_code: bool
) -> Json:
    """Check each use of a data set; for workers only.

    Returns:
        ``{"wrong": [{"message", "hint"}, ...], "notes": [...]}``, each once; if a key of the
        configuration is the cause, with its path as ``key``.
    """
    from paretune.core.model import Model
    from paretune.data.catalog import DataCatalog
    from paretune.models.context_length import most_tokens
    from paretune.models.handle import detect_kind
    from paretune.runtimes.base import hf_tokenizer

    path = Path(folder)
    try:
        tokenizer = hf_tokenizer(path, trust_remote_code)
    except (ParetuneError, OSError, ValueError) as error:
        hint = "Every training and scoring of this configuration needs it."
        return {
            "wrong": [{"message": f"the model's tokenizer does not load: {error}", "hint": hint}],
            "notes": [],
        }
    look = _Look(
        tokenizer, most_tokens(Model(detect_kind(path), path, "")), DataCatalog.from_json(data)
    )
    trainings = [use for use in uses if use["kind"] == "train"]
    look.templates(uses)
    look.train(trainings)
    for use in uses:
        if use["kind"] != "train":
            look.measure(use)
    return {
        "wrong": list({w["message"]: w for w in look.wrong}.values()),
        "notes": list(dict.fromkeys(look.notes)),
    }


class _Look:
    def __init__(self, tokenizer: Any, most: int | None, catalog: DataCatalog) -> None:
        self.tokenizer, self.most, self.catalog = tokenizer, most, catalog
        self.wrong: list[dict[str, Json]] = []
        self.notes: list[str] = []

    def refuse(self, error: UsageError | PassError) -> None:
        self.wrong.append({"message": error.message, "hint": error.hint})

    def encoder(self, ref: str, dataset: Dataset) -> ExampleEncoder:
        from paretune.data.example_tokens import ExampleEncoder

        return ExampleEncoder(self.tokenizer, dataset.chat, ref)

    def templates(self, uses: Sequence[Mapping[str, Json]]) -> None:
        """Check the texts together with the chat template, once per data set."""
        from paretune.preflight.changing_template import what_changes
        from paretune.preflight.control_tokens import ControlTokens, control_notes

        tokens = ControlTokens(self.tokenizer)
        trained = {use["ref"] for use in uses if use["kind"] == "train"}
        prompts: list[list[dict[str, str]]] = []
        for ref in dict.fromkeys(use["ref"] for use in uses):
            try:
                self.notes += control_notes(tokens, self.catalog, ref, trained=ref in trained)
            except DataError as error:
                self.refuse(error)
            prompts += _some_prompts(self.catalog.load(ref))
        told = what_changes(self.tokenizer, prompts) if prompts else None
        if told is not None:
            self.notes.append(told)

    def train(self, uses: Sequence[Mapping[str, Json]]) -> None:
        """Check all trainings: refuse a data set that none can use; note each that cannot."""
        failed: list[tuple[Mapping[str, Json], PassError | DataError]] = []
        for use in uses:
            try:
                self.notes += self._training(use)
            except (PassError, DataError) as error:
                failed.append((use, error))
        failing = [use for use, _ in failed]
        for use, wrong in failed:
            if any(other["ref"] == use["ref"] and other not in failing for other in uses):
                self.notes.append(
                    f"{use['name']} with max_length {use['max_length']} cannot train: "
                    f"{wrong.message}"
                )
            else:
                self.refuse(wrong)

    def _training(self, use: Mapping[str, Json]) -> Iterator[str]:
        from paretune.passes.lora.params import LoraParams
        from paretune.passes.lora.rows import encode, encode_one

        ref, length = use["ref"], use["max_length"]
        dataset = self.catalog.load(ref)
        if dataset.corpus is not None:
            encode(self.tokenizer, dataset, ref, LoraParams(train=ref), self.most)
            return
        room = length if self.most is None else min(length, self.most)
        encoder = self.encoder(ref, dataset)
        _refuse_empty(encoder, dataset, ref)
        cut, wrong = [], []
        for example in dataset.examples:
            try:
                _, shorter = encode_one(encoder, example, use["loss_on"], room, ref)
                if shorter:
                    cut.append(example.row)
            except PassError as error:
                wrong.append((example.row, error))
        if wrong:
            raise all_of(wrong)
        if cut:
            limit = f"max_length {length}" if room == length else f"the context of {room} tokens"
            yield (
                f"{ref}: {rows_told(cut)} longer than {limit}, and shortened for training "
                f"({_how_cut(dataset)})"
            )

    def measure(self, use: Mapping[str, Json]) -> None:
        try:
            self.notes += _OF_EVALUATOR[use["kind"]](self, use["ref"], use["params"])
        except ParameterTooLargeError as error:
            key = [*use.get("key", ["evaluate", use["kind"]]), error.parameter]
            self.wrong.append({"message": error.message, "hint": error.hint, "key": key})
        except (PassError, UsageError) as error:
            self.refuse(error)

    def classification(self, ref: str, params: Mapping[str, Json]) -> Iterator[str]:
        from paretune.evaluators.text.classification import room_for_prompt

        dataset = self.catalog.load(ref)
        encoder = self.encoder(ref, dataset)
        labels = tuple(params.get("labels") or dataset.labels)
        ids = [encoder.answer(dataset.examples[0], label) for label in labels]
        ended = bool(encoder.answer(dataset.examples[0], ""))
        yield from check_labels(ref, labels, ids, ended)
        room = room_for_prompt(self.most, ids)
        if room is not None and room < 1:
            label, most = max(zip(labels, map(len, ids), strict=True), key=lambda one: one[1])
            raise DataError(
                f"{ref}: the label {label!r:.60} has {most} tokens, the end token included: this "
                f"leaves no room for a prompt in the model's context of {self.most} tokens",
                hint="Use shorter labels, or a model with a longer context.",
            )
        yield from self._prompts(encoder, dataset, ref, room)

    def exact_match(self, ref: str, params: Mapping[str, Json]) -> Iterator[str]:
        from paretune.evaluators.text.exact_match import ExactMatchParams

        dataset = self.catalog.load(ref)
        encoder = self.encoder(ref, dataset)
        most_new = ExactMatchParams(**params).max_new_tokens
        end = len(encoder.answer(dataset.examples[0], ""))
        too_long = [
            (example.row, tokens)
            for example in dataset.examples
            if (tokens := len(encoder.answer(example, example.answer)) - end) > most_new
        ]
        if too_long:
            rows = rows_told([row for row, _ in too_long], ("has an answer", "have answers"))
            yield (
                f"exact_match: {rows} of {ref} longer than max_new_tokens {most_new} (up to "
                f"{max(tokens for _, tokens in too_long)} tokens): they can never match "
                f"({len(too_long)} of {len(dataset.examples)} rows)"
            )
        if not end:
            yield (
                "exact_match: the model has no end token, so it always generates max_new_tokens "
                f"{most_new} tokens: an answer of {ref} that is shorter hardly ever matches"
            )
        room = None if self.most is None else self.most - most_new
        try:
            yield from self._prompts(encoder, dataset, ref, room)
        except RowsTooLongError as error:
            assert self.most is not None
            largest = self.most - error.needed
            if largest < 1:
                raise  # they would not fit beside an answer of one token either
            raise ParameterTooLargeError(
                "max_new_tokens",
                f"{most_new} new tokens leave {max(0, self.most - most_new)} tokens of the model's "
                f"context of {self.most} for a prompt; in {ref}, {error.told}",
                f"Set max_new_tokens to {largest} or less, or shorten the rows.",
            ) from error

    def perplexity(self, ref: str, params: Mapping[str, Json]) -> Iterator[str]:
        from paretune.evaluators.text.perplexity import Perplexity, PerplexityParams

        dataset = self.catalog.load(ref)
        if dataset.form != "text":
            _refuse_empty(self.encoder(ref, dataset), dataset, ref)
        found = Perplexity(PerplexityParams(**params)).windows(self.tokenizer, dataset, self.most)
        if sum(1 for _ in found) == 0:  # all of them are made: each may be what does not fit
            raise DataError(
                f"perplexity: no text of {ref} has two tokens or more",
                hint="Use a data set with more text.",
            )
        yield from ()

    def _prompts(
        self, encoder: ExampleEncoder, dataset: Dataset, ref: str, room: int | None
    ) -> Iterator[str]:
        """Yield which prompts are cut.

        Raises:
            DataError: A prompt has no token, or does not fit.
        """
        _refuse_empty(encoder, dataset, ref)
        cut: list[int] = []
        wrong: list[tuple[int, DataError]] = []
        for example in dataset.examples:
            try:
                if encoder.fitted(example, room)[1] is not example:
                    cut.append(example.row)
            except DataError as error:
                wrong.append((example.row, error))
        if wrong:
            raise RowsTooLongError(wrong)
        if cut:
            yield (
                f"{ref}: {rows_told(cut)} longer than the model's context ({self.most} tokens, "
                f"answer included), and shortened for measuring ({_how_cut(dataset)})"
            )


def _some_prompts(dataset: Dataset) -> list[list[dict[str, str]]]:
    """Return the first prompts of a data set that go through the chat template, as turns."""
    first = dataset.examples[:_PROMPTS_RENDERED]
    if dataset.form == "conversations":
        return [[turn.to_json() for turn in example.turns[:-1]] for example in first]
    if not dataset.chat:
        return []
    return [[{"role": "user", "content": example.prompt}] for example in first]


def _how_cut(dataset: Dataset) -> str:
    if dataset.form == "conversations":
        return "the last turns are left out"
    return "the longest column is cut at its beginning"


def _refuse_empty(encoder: ExampleEncoder, dataset: Dataset, ref: str) -> None:
    """Refuse rows whose prompt has no token, because scoring needs at least one.

    Raises:
        DataError: There are some.
    """
    if dataset.form != "pairs":
        return
    empty = [
        example.row
        for example in dataset.examples
        if not example.prompt.strip() and not encoder.prompt(example)
    ]
    if empty:
        raise DataError(
            f"{ref}: {rows_told(empty, ('has an empty prompt', 'have an empty prompt'))}, and the "
            "model's tokenizer puts no token before a text: the model needs at least one token "
            "before an answer",
            hint="Give the row a prompt, remove it, or add fixed text to the prompt template.",
        )


_OF_EVALUATOR = {
    "classification": _Look.classification,
    "exact_match": _Look.exact_match,
    "perplexity": _Look.perplexity,
}
