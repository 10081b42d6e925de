"""The model card that lies beside a package, with its measured figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.candidate import further_settings
from paretune.core.jsontools import Json, canonical
from paretune.reporting.seeds_section import metrics_of, seed_rows
from paretune.runtimes.serving import required_runtime
from paretune.study.pick_entry import sentences
from paretune.study.repeats_entry import sentences as sentences_on_seeds
from paretune.study.results import CandidateEntry, Results
from paretune.study.results_part import MetricValue
from paretune.study.results_repeats import RepeatsEntry

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&])")


def escaped(text: str) -> str:
    """Return untrusted text as plain Markdown: no markup, no control characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return _SPECIAL.sub(r"\\\1", printable)


def write_model_card(
    results: Results,
    candidate: CandidateEntry,
    out: Path,
    model_name: str,
    kind: str,
    legal: Sequence[str] = (),
    rows: Mapping[str, Any] | None = None,
) -> None:
    """Write a model card with the figures that were measured.

    Args:
        results: The study's results document.
        candidate: The candidate's entry in it.
        out: The file.
        model_name: Name of the input model.
        kind: Of the model.
        legal: Names of the licences and notices that lie beside it.
        rows: How it reads raw rows (`paretune.study.raw_rows`); None: it does not.
    """
    device, runtime = results.device, candidate.runtime
    further = escaped(further_settings(runtime.settings))
    lines = [
        f"# {escaped(model_name)}, as chosen by paretune",
        "",
        f"Candidate {candidate.id} of the study *{escaped(results.study)}*. Run it: "
        f"{required_runtime(kind, runtime.name or '').usage}.",
        "",
        *_raw_rows(rows),
        "## Measured",
        f"On {escaped(device.processor)}, {device.cores} cores, {escaped(device.os)}; provider "
        f"{escaped(runtime.provider)}, {runtime.threads} threads{further}. Speeds are valid for "
        "this device only.",
        "",
        "| metric | value | 95 % interval | samples |",
        "|---|---|---|---|",
    ]
    for name, m in candidate.metrics.items():
        value = "-" if m.value is None else f"{m.value:.4g} {m.unit}".strip()
        interval = "-" if m.low is None else f"{m.low:.4g} to {m.high:.4g}"
        lines.append(f"| {escaped(name)} | {escaped(value)} | {interval} | {m.n} |")
    if results.pick is not None and results.pick.id == candidate.id:
        lines += ["", *(escaped(sentence) for sentence in sentences(results))]
    if results.repeats is not None and results.repeats.id == candidate.id:
        lines += _repeats(results, results.repeats)
    lines += ["", "## How it was made", ""]
    for number, step in enumerate(candidate.recipe, start=1):
        params = ", ".join(f"{k}={_shown(v)}" for k, v in step.params.items())
        lines.append(f"{number}. **{escaped(step.name)}** {escaped(params)}".rstrip())
    if not candidate.recipe:
        lines.append("The input model, unchanged.")
    lines += ["", "`paretune run recipe.yaml` builds and measures it again.", ""]
    if results.constraints:
        lines += ["## Constraints of the search", ""]
        lines += [f"- {escaped(c.text)}" for c in results.constraints]
        lines.append("")
    lines += [
        "## Limits",
        "The accuracy was measured only on the data named in `recipe.yaml`. The licences of the "
        "input model and of the training data apply to this model"
        + (f" (files in this folder: {', '.join(map(escaped, legal))})." if legal else "."),
        "",
        "Versions: " + ", ".join(f"{escaped(k)} {escaped(v)}" for k, v in results.versions.items()),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


def _raw_rows(rows: Mapping[str, Any] | None) -> list[str]:
    """Return how the package is run on a raw row, and which of its code is the user's."""
    if rows is None:
        return []
    columns = escaped(" ".join(f"{column}=..." for column in rows["read"]))
    needs = ", ".join(f"{k} {v}" for k, v in {**rows["needs"], **rows["code_needs"]}.items())
    lines = ["## From a raw row to the answer", f"python sample.py {columns}", ""]
    if needs:
        lines += [f"Needs, beside the runtime: {escaped(needs)}.", ""]
    if rows["code"]:
        lines += [
            "This runs code of the one who made the package; read it before: "
            f"{escaped(', '.join(rows['code']))}, in the folder paretune\\_rows. Files that this "
            "code opens are not in the package.",
            "",
        ]
    return lines


def _repeats(results: Results, repeats: RepeatsEntry) -> list[str]:
    """Return what the recipe yields with other training seeds."""
    lines = ["", "## With other training seeds", ""]
    rows = seed_rows(results, repeats)
    if len(rows) > 1:
        names = [name for name in metrics_of(results, repeats) if name in repeats.spread]
        lines += [f"| seed | {' | '.join(map(escaped, names))} |", "|---|" + "---|" * len(names)]
        for row in rows:
            cells = (_cell(row.values.get(name)) for name in names)
            lines.append(f"| {row.seeds}{' (this model)' * row.own} | {' | '.join(cells)} |")
        lines.append("")
    wanted = [o.metric for o in results.objectives]
    return [*lines, *(escaped(sentence) for sentence in sentences_on_seeds(repeats, wanted))]


def _cell(m: MetricValue | None) -> str:
    if m is None or m.value is None:
        return "-"
    interval = "" if m.low is None else f" ({m.low:.4g} to {m.high:.4g})"
    return f"{m.value:.4g}{interval}"


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value)
