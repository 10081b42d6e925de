"""KL against decode time: what paretune makes beside what each peer makes of the same model.

    python benchmarks/model_front.py [--only TEXT ...] [--again]     builds and quality
    python benchmarks/model_front.py --speed [--rounds 4]            then: decode speed
    python benchmarks/model_front.py --show                          tables, goals, figure

The variants are in ``benchmarks/fronting/variants.yaml``; ``--only`` takes those whose maker and
name hold one of the texts. Peers run in environments of their own, which
``benchmarks/peers/olive.sh`` and ``benchmarks/peers/runtimes.sh`` make. A row that was made with
the same words, versions, model and text is not made again (``--again`` makes failures again).
``--speed`` adds rounds to those that are there, if they are of the same builds and this device
(``--speed --again`` begins anew).

KL is that of a build's next token from the fp32 model's, in nats per token over WikiText-2's test
text, in sequences of 512 tokens, with the interval of the mean over sequences. All makers get the
same calibration text. Speeds are of fresh processes, the builds interleaved, each round relative
to the builder's int4. Packages whose graphs are equal but for the values of weights are one program
on other numbers, and have one speed: the median of them all. Run ``--speed`` on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from common import OUT, ROOT, public_data, save, table
from fronting.comparing import compared
from fronting.divergence import FIGURES
from fronting.figure import draw
from fronting.making import (
    MAKERS,
    NOTE,
    VARIANTS,
    NotMade,
    Variant,
    Workshop,
    megabytes,
    read_variants,
)
from fronting.measuring import (
    PROMPT,
    NotRun,
    divergence_of,
    graph_of,
    probed,
    relative_speeds,
    speed_of,
)
from fronting.texts import builds_of, kept_reference

from paretune.models.handle import folder_digest
from paretune.targets.device.fingerprint import device

NAME = "model_front"
BASE = "GenAI builder: int4"
_SEQUENCES = 8
_ANOTHER_MODEL = 5.0
"""Nats per token. The text itself costs the fp32 model 3.3."""
Rows = dict[str, dict[str, Any]]


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "smollm2")
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--again", action="store_true", help="make also what failed before")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    listed = read_variants()
    whole = _kept(listed)
    rows: Rows = whole["rows"]
    variants = chosen(listed, args.only)
    if args.speed:
        measure_speed(rows, variants, args.model, args.rounds, again=args.again)
    elif not args.show:
        measure_quality(whole, variants, args.model, again=args.again)
    whole["compared"] = compared(rows, whole["fp32_perplexity"])
    if not args.show:
        save(NAME, whole)
    print(shown(whole))
    if whole["compared"]:
        print(draw(rows, whole["compared"]["front"], OUT / f"{NAME}.svg"))


def chosen(variants: list[Variant], texts: list[str]) -> list[Variant]:
    """Return the variants whose maker and name are or hold a text, in the order of the texts."""
    titles = {v.title: v for v in variants}
    found: dict[str, Variant] = {}
    for text in texts:
        each = [text] if text in titles else [title for title in titles if text in title]
        found |= {title: titles[title] for title in each}
    if not found:
        raise SystemExit(f"no variant holds {' or '.join(map(repr, texts))}: see {VARIANTS}")
    return list(found.values())


def _kept(listed: list[Variant]) -> dict[str, Any]:
    """Return what earlier runs found of the variants that are still listed."""
    file = OUT / f"{NAME}.json"
    if not file.is_file():
        return {"rows": {}}
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows = {v.title: kept["rows"][v.title] for v in listed if v.title in kept["rows"]}
    here = kept.get("device", {}).get("fingerprint") == device("local", Path(".")).fingerprint
    for variant in listed:
        if variant.title in rows:
            rows[variant.title]["outside"] = variant.outside
            if not here:
                rows[variant.title].pop("token_ms", None)
    return {"text": kept["text"], "fp32_perplexity": kept["fp32_perplexity"], "rows": rows}


def measure_quality(
    whole: dict[str, Any], variants: list[Variant], model: Path, *, again: bool
) -> None:
    """Make variants and compare them with the fp32 model; saved after each."""
    public_data("wikitext-2")  # no other text: gptq is calibrated on what would take its place
    digest = folder_digest(model)
    folder = builds_of(NAME, digest)
    sequences, text, perplexity = kept_reference(model, digest, _SEQUENCES, folder / "reference")
    whole |= {"text": text, "fp32_perplexity": perplexity}
    rows: Rows = whole["rows"]
    workshop = Workshop(model, folder)
    for variant in variants:
        wanted = {**variant.identity(), "model": digest, "text": text, "sequences": len(sequences)}
        row = rows.get(variant.title, {})
        if row.get("made_with") == wanted and not (again and "failed" in row):
            continue
        start = time.monotonic()
        row = {"maker": variant.maker, "name": variant.name, "made_with": wanted}
        row["outside"] = variant.outside
        try:
            built = workshop.built(variant)
            row["build_s"] = round(time.monotonic() - start, 1)
            row["mb"] = megabytes(built)
            if (built / NOTE).is_file():
                row["note"] = (built / NOTE).read_text(encoding="utf-8")
            row |= probed(
                variant.interpreter,
                variant.runtime,
                built,
                variant.settings(),
                sequences=sequences,
                reference=str(folder / "reference"),
            )
            refuse_another_model(row)
        except NotMade as error:
            row["failed"] = f"not made: {error}"
        except NotRun as error:
            row["failed"] = f"made, does not run: {error}"
            shutil.rmtree(built)
        rows[variant.title] = row
        told = {key: value for key, value in row.items() if key not in ("made_with", "settings")}
        print(f"{variant.title}: {json.dumps(told)}", flush=True)
        save(NAME, whole)


def refuse_another_model(row: dict[str, Any]) -> None:
    """Take the figures of a build away that says nothing of what the model says.

    They would stretch the figure, and half of such a divergence is no goal.
    """
    if row["kl_per_token"] > _ANOTHER_MODEL:
        row["failed"] = f"made, computes another model: KL {row['kl_per_token']:.1f} nats per token"
        for name in FIGURES:
            row.pop(name, None)


def _is_of(row: dict[str, Any], variant: Variant) -> bool:
    """Return whether a row has the quality of a variant as it is listed now."""
    wanted = variant.identity()
    made_with = row.get("made_with", {})
    return "kl_per_token" in row and {k: made_with.get(k) for k in wanted} == wanted


def measure_speed(
    rows: Rows, variants: list[Variant], model: Path, rounds: int, *, again: bool
) -> None:
    """Time the variants that run, beside the builder's int4, on from the rounds that are there."""
    digest = folder_digest(model)
    folder = builds_of(NAME, digest)
    sequences, *_ = kept_reference(model, digest, _SEQUENCES, folder / "reference")
    (base,) = (v for v in read_variants() if v.title == BASE)
    there = {v.title: v for v in (base, *variants) if _is_of(rows.get(v.title, {}), v)}
    if again:
        for name in there:
            for old in ("token_ms", "no_speed"):
                rows[name].pop(old, None)
    there = {name: v for name, v in there.items() if "no_speed" not in rows[name]}
    if BASE not in there:
        raise SystemExit(f"the quality of {BASE} is not measured: run this without --speed first")
    workshop = Workshop(model, folder)
    asked = {
        name: (v.interpreter, v.runtime, workshop.built(v), v.settings())
        for name, v in there.items()
    }
    alike = {name: graph_of(out) for name, (_, kind, out, _) in asked.items() if kind == "genai"}
    kept = {name: [ms / 1000 for ms in rows[name].get("token_ms", ())] for name in asked}
    found, failed = relative_speeds(asked, BASE, sequences[0][:PROMPT], rounds, alike, kept)
    for name, figures in found.items():
        rows[name] |= figures
        rows[name].pop("no_speed", None)
    for name, why in failed.items():
        rows[name]["no_speed"] = why


def shown(whole: dict[str, Any]) -> str:
    """Return the rows, the failures and the goals as tables."""
    rows: Rows = whole["rows"]
    found = [r for maker in MAKERS for r in rows.values() if r["maker"] == maker]
    on_front = {id(rows[name]) for name in whole["compared"].get("front", [])}
    lines = [
        [
            row["maker"],
            row["name"] + (" **front**" if id(row) in on_front else ""),
            row["mb"],
            "does not run" if "no_speed" in row else speed_of(row),
            divergence_of(row),
            row["top1_agreement"],
            row["perplexity"],
        ]
        for row in found
        if "failed" not in row
    ]
    head = ("maker", "variant", "MB", "speed (int4 = 1)", "KL per token", "same top", "perplexity")
    parts = [f"fp32: perplexity {whole['fp32_perplexity']:.3f} on {whole['text']}"]
    parts.append(table(head, sorted(lines, key=lambda line: (MAKERS.index(line[0]), line[4]))))
    failed = [[r["maker"], r["name"], r["failed"]] for r in found if "failed" in r]
    if failed:
        parts.append(table(("maker", "variant", "why it has no figures"), failed))
    if whole["compared"]:
        parts += _goals(whole["compared"])
    return "\n\n".join(parts)


def _goals(found: dict[str, Any]) -> list[str]:
    share, half, loss = found["share"], found["half_the_kl"], found["at_5_percent_loss"]
    span = "" if share["span_ours"] is None else f", {share['span_ours']:.0%} of its speeds"
    peers = [[r["peer"], r["ours"], r["kl_ratio"], r["counts"]] for r in half["rows"]]
    ratio = "none" if loss["ratio"] is None else f"{loss['ratio']:.2f}"
    return [
        f"of the front's {share['members']} members {share['ours']} are ours{span}",
        f"at a peer's speed, half its KL: {half['reached']} of {half['peers']} peers' variants; "
        f"no more KL: {half['no_worse']}",
        table(("peer's variant", "ours at its speed", "KL, ratio", "counts for the goal"), peers),
        f"at 5 % more perplexity than fp32: ours {loss['ours']}, peers' {loss['peers']}, "
        f"{ratio} times as fast (goal 1.3)",
    ]


if __name__ == "__main__":
    main()
