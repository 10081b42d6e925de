"""Text from elsewhere stays text in the model card: no link, heading or cell comes of it."""

from ast import literal_eval
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from paretune.reporting.model_card import escaped, write_model_card
from paretune.runtimes.sample_program import write_sample
from paretune.study.results import Results
from tests.security.documents import document
from tests.security.hostile import CONTROLS, MARKDOWN, MARKUP

HOSTILE = (*MARKDOWN, *MARKUP, *CONTROLS)
PARSER = MarkdownIt("commonmark").enable("table")


def structure(text: str) -> list[str]:
    """Return a document's blocks and spans, in order, without their texts."""
    return [
        f"{token.type} {inner.type}" if inner is not None else token.type
        for token in PARSER.parse(text)
        for inner in ([None, *(c for c in token.children or [] if c.type != "text")])
    ]


def card(folder: Path, text: str, name: str = "") -> str:
    results = Results.from_json(document(text, name))
    out = folder / "model_card.md"
    write_model_card(results, results.candidates[0], out, f"model{text}", "genai")
    return out.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_part_of_the_card_comes_from_a_text(tmp_path: Path, text: str) -> None:
    found = card(tmp_path, text)
    assert structure(found) == structure(card(tmp_path, "plain"))
    assert all(c.isprintable() or c == "\n" for c in found)


def test_no_part_of_the_card_comes_from_a_name(tmp_path: Path) -> None:
    found = card(tmp_path, "plain", "".join(HOSTILE))
    assert structure(found) == structure(card(tmp_path, "plain"))
    assert all(c.isprintable() or c == "\n" for c in found)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_escaped_reads_as_it_was(text: str) -> None:
    (_, inline, _) = PARSER.parse(f"x{escaped(text)}x")
    assert [child.type for child in inline.children or []] in (["text"], ["text", "text_special"])


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["genai", "hf"])
def test_a_prompt_is_a_text_in_the_sample_program(tmp_path: Path, kind: str, text: str) -> None:
    write_sample(tmp_path / "sample.py", kind, text, False, 8)
    (line,) = [
        line for line in (tmp_path / "sample.py").read_text().splitlines() if "sys.argv[1]" in line
    ]
    assert literal_eval(line.partition(" else ")[2]) == text
