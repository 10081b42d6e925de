"""The output files of a study: ``results.json``, ``report.html``, ``results.csv`` and ``best/``.

All of them are rebuilt from the outcomes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import yaml

from paretune.config.target_uses import of_one_device
from paretune.config.yaml_source import Source
from paretune.core.candidate import Candidate
from paretune.core.errors import ConfigError, StateError
from paretune.core.jsontools import Json, write_atomic
from paretune.core.model import Model
from paretune.core.result import TrialResult
from paretune.models.handle import earlier_digests, open_model
from paretune.models.legal_files import add_legal
from paretune.reporting.csv_export import write_csv
from paretune.reporting.latency_figure import measured_cases
from paretune.reporting.model_card import write_model_card
from paretune.reporting.page import write_report
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.store.artifacts import Store
from paretune.study.example_prompt import ExamplePrompt
from paretune.study.raw_rows import add_raw_rows
from paretune.study.results import Results
from paretune.study.runtime_names import runtime_name, runtimes_entry


def recipe_config(resolved: Mapping[str, Json], candidate: Candidate) -> dict[str, Json]:
    """Return a configuration for ``paretune run`` that rebuilds and measures one candidate.

    Args:
        resolved: The study's resolved configuration.
        candidate: What to rebuild.
    """
    runtime = candidate.runtime
    config = {k: v for k, v in resolved.items() if k not in ("try_first", "search")}
    config["passes"] = [
        {step.name: dict(step.params)} if step.params else step.name for step in candidate.recipe
    ]
    config["target"] = {
        **of_one_device(resolved.get("target")),
        "providers": [runtime.provider],
        "threads": [runtime.threads],
    }
    config.pop("runtimes", None)
    return config | runtimes_entry(runtime_name(candidate, str(resolved["model"])), runtime)


def hand_over(
    outcome: TrialResult,
    results: Results,
    resolved: Mapping[str, Json],
    store: Store,
    out: Path,
    example_prompt: ExamplePrompt,
    legal: Sequence[Path] = (),
    study: Path | None = None,
) -> None:
    """Write the complete deployable package of one candidate, or nothing.

    Args:
        outcome: The candidate's outcome; its artifact must be in the store.
        results: The study's results document.
        resolved: The study's resolved configuration.
        store: The store with the artifact.
        out: The folder to write; replaced if it exists.
        example_prompt: The prompt that ``sample.py`` uses when it is started without one.
        legal: Folders whose licences and notices are copied into it.
        study: The study's folder, which may keep how raw rows are read; None: none is known.

    Raises:
        StateError: The artifact is no longer in the store.
    """
    assert outcome.artifact is not None
    row = next(c for c in results.candidates if c.id == outcome.id)
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    with store.lock_object(outcome.artifact):  # nobody removes it while it is copied
        model = (
            store.open_object(outcome.artifact)
            if outcome.candidate.recipe
            else input_model(resolved, outcome)
        )
        runtime = outcome.candidate.runtime
        lay_out(model, runtime, aside, link=False)
    notices = add_legal(aside, legal)
    recipe = yaml.safe_dump(
        recipe_config(resolved, outcome.candidate), sort_keys=False, allow_unicode=True, width=100
    )
    header = "# Rebuilds and measures this model: paretune run recipe.yaml\n"
    write_atomic(aside / "recipe.yaml", header + recipe)
    name = Path(str(resolved["model"])).name
    rows = None if study is None else add_raw_rows(aside, study)
    write_model_card(results, row, aside / "model_card.md", name, model.kind, notices, rows)
    prompt, chat, before, role = example_prompt
    write_sample(aside / "sample.py", model.kind, prompt, chat, 32, before, role, runtime.name)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def write_views(folder: Path, results: Results, extra: Mapping[str, Json]) -> None:
    """Write ``report.html`` and ``results.csv`` beside ``results.json``.

    Args:
        folder: The study; the lengths that its ``config.yaml`` measures are drawn.
        results: Its results document.
        extra: What else the report shows (see `comparison`).
    """
    cases = measured_cases(_config(folder))
    write_report(results, folder / "report.html", {**extra, "cases": cases})
    write_csv(results, folder / "results.csv")


def _config(folder: Path) -> dict[str, Json]:
    """Return a study's resolved configuration; empty if it cannot be read."""
    file = folder / "config.yaml"
    try:
        found = Source(file.read_text(encoding="utf-8"), str(file)).value
    except (ConfigError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def comparison(outcomes: Sequence[TrialResult], best: int | None, baseline: int | None) -> Json:
    """Return paired differences of the pick from the baseline, on raw per-example samples.

    Args:
        outcomes: With raw samples.
        best: Id of the pick.
        baseline: Id of the baseline.

    Returns:
        Metric to ``{difference, low, high, n, p, test}``: `p` of McNemar's exact test, or of a
        permutation test where scores are not 0 or 1; empty where the two cannot be paired.
    """
    from paretune.stats.intervals import paired_bootstrap_difference, paired_p

    by_id = {o.id: o.measurements or {} for o in outcomes}
    if best is None or baseline is None or best == baseline:
        return {}
    found: dict[str, Json] = {}
    for metric in ("accuracy", "exact_match"):
        a, b = by_id[best].get(metric), by_id.get(baseline, {}).get(metric)
        if a is None or b is None or not a.samples or len(a.samples) != len(b.samples):
            continue
        difference, low, high = paired_bootstrap_difference(a.samples, b.samples)
        p, test = paired_p(a.samples, b.samples)
        found[metric] = {
            "difference": difference,
            "low": low,
            "high": high,
            "n": a.n,
            "p": p,
            "test": test,
        }
    return found


def input_model(resolved: Mapping[str, Json], outcome: TrialResult) -> Model:
    """Return the input model, which is the model of a candidate without passes.

    Raises:
        StateError: It is not the model that was measured.
    """
    model = open_model(Path(str(resolved["model"])))
    digests = chain([model.digest], earlier_digests(model.path))
    if all(digest != outcome.artifact for digest in digests):
        raise StateError(
            f"the model in {model.path} is not the one that was measured",
            hint="Put the measured model back, or search again.",
        )
    return model
