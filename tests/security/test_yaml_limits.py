"""A configuration of any shape and size ends soon, in plain values or in an error with its line."""

from typing import Any

import pytest
import yaml

from paretune.config import yaml_source
from paretune.config.yaml_source import Source
from paretune.core.errors import ConfigError
from paretune.core.jsontools import canonical

MEGABYTE = 1 << 20
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{two}: &{two} [{', '.join(['*' + one] * 10)}]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * MEGABYTE, "nested more than 40 levels deep"),
        ("{a: " * (MEGABYTE // 4), "nested more than 40 levels deep"),
        ("? " * (MEGABYTE // 2), "nested more than 40 levels deep"),
        ("- " * (MEGABYTE // 2), "nested more than 40 levels deep"),
        (BOMB, "nested more than 40 levels deep"),
        ("a: &a {k: [*a, *a, *a]}", "nested more than 40 levels deep"),
        ("a: &a '" + "x" * 10_000 + "'\nb: [" + "*a, " * 1000 + "]", "after expanding all aliases"),
        ("x" * (MEGABYTE + 1), "larger than 1048576 bytes"),
        ("a: " + "1:" * 100_000 + "1", "a number has more than 100 digits"),
        ("a: 0x" + "f" * 100_000, "a number has more than 100 digits"),
        ("a: " + "9" * 100_000, "a number has more than 100 digits"),
        ("a: 1." + "9" * 100_000, "a number has more than 100 digits"),
        ("a: 9223372036854775808", "below 2.63"),
        ("a: 1.0e+99", "below 2.63"),
        ("a: .inf", "below 2.63"),
        ("a: [-.inf, .nan]", "below 2.63"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ('"\\udc00": 1', "expected a name as key"),
    ],
)
def test_what_is_too_much_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Source(text, "c.yaml")


@pytest.mark.parametrize("text", ["- a\n" * 600, "".join(f"a{i}: 1\n" for i in range(600))])
def test_a_text_of_countless_parts_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "_MAX_NODES", 500)
    with pytest.raises(ConfigError, match=r"c\.yaml:\d+: not YAML: more than 50000 values"):
        Source(text, "c.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]",
        "a: !!python/name:os.system x",
        "a: !!python/object:os.system x",
        "a: !!int ''",
        "a: !!int '-'",
        "a: !!float x",
        "a: !!bool maybe",
        "a: !!timestamp soon",
        "a: !!null x",
        "a: !!binary x",
        "a: !mine x",
        "a: =",
        "<<: {a: 1}",
        "a: <<",
        "? [a]\n: 1",
        "? {a: b}\n: 1",
        "? &k [*k]\n: 1",
        "? !!int ''\n: 1",
        "1: 2",
        "on: 2",
        "null: 2",
        "a: 2001-99-99",
        "a: *b",
        "a: \x1b[31m",
        "%YAML 9.9\n---\na: 1",
        "a: 1\n---\nb: 2",
    ],
)
def test_what_a_tag_or_a_key_may_not_be(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^c\.yaml"):
        Source(text, "c.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: !!str 1", {"a": "1"}),
        ('{"\\ud83d\\ude00": "\\ud83d\\ude00"}', {"\U0001f600": "\U0001f600"}),
        ("a: [1, -2, 3.5, 0x1f, 1_000, true, ~, '', no]", None),
        ('{"a": ["b", 1, 2.5e-3, null, true], "c": {}}', None),
        ("a: 'it''s'\nb: |\n  two\n  lines\nc: >-\n  one\n  line\n", None),
        ("a: \U0001f600", None),
        ("", None),
    ],
)
def test_what_is_plain_is_what_the_safe_loader_gives(text: str, value: Any) -> None:
    found = Source(text, "c.yaml").value
    assert found == (yaml.safe_load(text) if value is None else value)
    canonical(found).encode()
