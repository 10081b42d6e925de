"""The text that readers see is plain technical English: no private words instead of the field's.

Checked are the pages, the docstrings, the messages (string literals of three words or more) and
the report's templates. Code, in a page or between backticks, may have any name: `finals`,
`remarks` and other keys of files that users have keep theirs.

`python -m tests.test_prose FOLDER...` lists what a folder has to change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_STORY = "comparison_text.py"  # a story that models read, and no text for people

# What is checked.
CLEAN = (
    "README.md",
    "CONTRIBUTING.md",
    "docs",
    "benchmarks/README.md",
    "paretune/api.py",
    "paretune/azure",
    "paretune/bench",
    "paretune/cli",
    "paretune/comparing",
    "paretune/config",
    "paretune/core",
    "paretune/display",
    "paretune/preflight",
    "paretune/reporting",
    "paretune/searching",
    "paretune/runtimes",
    "paretune/store",
    "paretune/study",
    "paretune/testing",
    "search",
    "paretune/data",
    "paretune/stats",
    "evaluators",
    "passes",
    "paretune/__init__.py",
    "paretune/__main__.py",
    "paretune/old_names.py",
    "paretune/plugin_identity.py",
    "paretune/registry.py",
    "paretune/models",
    "targets",
)

_RATE = (
    r"once|(?:one|a) \w+|every \w+|ms|MB|GB|s|bytes|seconds?|samples?|tokens?|lines?|jobs?"
    r"|files?|times|examples?|requests?"
)
_UNIT = (
    "token|row|prompt|machine|command|second|minute|process|candidate|example|layer|step|study"
    "|record|studies|kill|build|pass|key|pair|system|axis|channel"
)

# A private word (a regular expression, any case), and what to write instead.
INSTEAD = [
    (r"\battempts?\b(?! to\b)", "trial"),
    (r"\bladders?\b", "schedule (of rungs)"),
    (r"\bstandings?\b", "summary"),
    (r"\bgates?\b", "pruning rule"),
    (r"\bforeseen?\b|\bforesight\b", "estimated, estimate"),
    (r"\bcautious(ly)?\b", "with a wider interval"),
    (r"\bfinals\b", "the re-measurement of the finalists"),
    (r"\bin turns?\b|\bin short turns\b|\btak(e|es|ing) turns\b", "interleaved"),
    (r"\barenas?\b|\bcontests?\b", "comparison"),
    (r"\bentrants?\b", "the model that is compared"),
    (r"\brivals?\b", "candidates that may dominate it"),
    (r"\bbeaten\b|\bbeats?\b", "dominated, better than"),
    (r"\bsurely\b|\bsurer\b", "with high confidence; state the confidence"),
    (r"\bremarks?\b", "note"),
    (r"\breadiness\b", "preflight check"),
    (r"\bsurroundings\b", "environment"),
    (r"\btroubles?\b", "issue"),
    (r"\bmends?\b|\bmended\b|\bmending\b", "fix"),
    (r"\bworkbench\b", "job factory"),
    (r"\bsound\b", "intact, valid"),
    (r"\bheld against\b|\bhold(s|ing)? (\w+ )?against\b", "compared with, checked against"),
    (r"\bheld by\b", "used by"),
    (r"\b(kept|keeps?|keeping) aside\b", "held out, hold out"),
    (r"\btold\b(?!:)", "reported, distinguished"),
    (r"\bcannot be told\b", "cannot be distinguished"),
    (r"(?:\b(?:is|are|was|were|be|been|and)|,) said\b", "reported"),
    (r"\bsa(y|ys|id) (little|nothing)\b", "does not determine"),
    (r"\bin words\b", "as text"),
    (r"\bspeaks?\b|\bspoken\b", "say what is shown, decided or set"),
    (r"\b(a|one|each|every|rough|first) looks?\b", "measurement, check"),
    (r"\blook(s|ed|ing)? (at|around)\b", "check, measure, read"),
    (r"\bothers? (took|takes?|had)\b", "CPU time used by other processes"),
    (r"\b(took|take|share) of the processor\b", "CPU time used by other processes"),
    (r"\bwhoever\b", "the candidate, process or user that"),
    (r"\bnobody\b", "no candidate, no process, no user"),
    (r"\bunseen characters\b", "invisible characters"),
    (r"\broof\b", "roofline"),
    (r"\bhit alike\b", "affected equally"),
    (r"\bsees? to it\b", "ensures"),
    (r"\bis there already\b", "already exists"),
    (r"\bthings are wrong\b", "errors"),
    (r"(?<!here )\bis no (?!longer\b|more\b|less\b)", "is not a"),
    (rf"(?<!\w)(?:{_RATE}) an? (?:{_UNIT})\b(?! is\b| was\b| has\b| that\b| of\b)", "per ..."),
    (r"\brun-times?\b", "runtime"),
    (r"\banew\b", "again, new"),
    (r"\bcom(e|es|ing) out\b|\bcame out\b", "results, is measured as"),
]
PATTERNS = [(re.compile(word, re.IGNORECASE), instead) for word, instead in INSTEAD]


def private_words(text: str) -> Iterator[tuple[str, str]]:
    """Yield each private word in a text with what to write instead; code is left out."""
    plain = " ".join(re.sub(r"``[^`]+``|`[^`]*`", "`code`", text).split())
    for pattern, instead in PATTERNS:
        for match in pattern.finditer(plain):
            yield plain[max(0, match.start() - 30) : match.end() + 30], instead


def texts_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield each docstring and message with its line. A value in a message is shown as code."""
    tree = ast.parse(source)
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            parts = [p.value if isinstance(p, ast.Constant) else "`value`" for p in node.values]
            yield node.lineno, "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def texts_of_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph, list item and row of a table with its line, without code blocks."""
    text = re.sub(r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    line = 1
    for part in re.split(r"(\n(?=\||[-*] |\n))", text):
        if part.strip():
            yield line, part
        line += part.count("\n")


def texts_of_template(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line of a template without style, scripts, tags and the template's own code."""
    for pattern in (r"<style>.*?</style>", r"<script>.*?</script>"):
        text = re.sub(pattern, lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        titles = re.findall(r"title=\"([^\"{]+)\"|aria-label=\"([^\"{]+)\"", line)
        shown = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|<code>.*?</code>|<[^>]*>", " ", line)
        yield number, " ".join([shown, *(a or b for a, b in titles)])


def texts(file: Path) -> Iterator[tuple[int, str]]:
    content = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        yield from (t for t in texts_of_code(content) if len(t[1].split()) > 2)
    elif file.suffix == ".md":
        yield from texts_of_page(content)
    else:
        yield from texts_of_template(content)


def files(name: str) -> list[Path]:
    """Return the files with text of a file or folder, by its name from the root."""
    path = ROOT / name
    found = path.rglob("*") if path.is_dir() else [path]
    return sorted(f for f in found if f.suffix in {".py", ".md", ".j2"} and f.name != _STORY)


def found_in(name: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{line}: ...{context}...  -> {instead}"
        for file in files(name)
        for line, text in texts(file)
        for context, instead in private_words(text)
    ]


@pytest.mark.parametrize("name", CLEAN)
def test_there_is_no_private_word_in_what_readers_see(name: str) -> None:
    assert files(name), f"{name} has no text; correct CLEAN"
    assert not found_in(name), "\n".join(found_in(name))


def test_every_source_folder_is_checked() -> None:
    sources = {"evaluators", "passes", "search", "targets"} | {
        f"paretune/{one.name}"
        for one in (ROOT / "paretune").iterdir()
        if one.suffix == ".py" or any(one.glob("*.py"))
    }
    assert sources == {n for n in CLEAN if not n.endswith(".md") and n != "docs"}


@pytest.mark.parametrize(
    "planted",
    [
        "Candidate 3 is surely beaten.",
        "Each model is measured in turns.",
        "It reads 96 MB a token.",
        "one file a pass, in a folder",
        "warning: the processor is busy. Mend what is named here.",
        "who was measured in the\nfinals",
        "CPU time that others took",
        "The surroundings have no home folder.",
        "the objective accuracy is no metric",
    ],
)
def test_a_planted_word_is_seen_wherever_readers_see_it(planted: str, tmp_path: Path) -> None:
    code, page, template = tmp_path / "a.py", tmp_path / "a.md", tmp_path / "a.html.j2"
    code.write_text(f"def f(x):\n    return f{planted + ' {x}'!r}\n\n\ndef g():\n    {planted!r}\n")
    page.write_text(f"# Title\n\nBefore.\n- An item: {planted}\n\n```sh\nfinals\n```\n")
    template.write_text(f"<p>{planted.replace(chr(10), ' ')}</p>\n<p>{{{{ told }}}}</p>\n")
    assert [line for line, t in texts(code) if list(private_words(t))] == [2, 6]
    assert [line for line, t in texts(page) if list(private_words(t))] == [4]
    assert [line for line, t in texts(template) if list(private_words(t))] == [1]


@pytest.mark.parametrize(
    "plain",
    [
        "`search: {finals: 60s}` limits the time in which finalists are measured again.",
        "There is no import cycle.",
        "The key `remarks` is a list of texts.",
        "`finals`",
        "each turn of a conversation",
        "It is no longer used.",
    ],
)
def test_code_and_plain_sentences_pass(plain: str) -> None:
    assert not list(private_words(plain))


if __name__ == "__main__":  # what is left, by folder
    for folder in sys.argv[1:] or CLEAN:
        print(*found_in(folder), f"{folder}: {len(found_in(folder))}", sep="\n")
