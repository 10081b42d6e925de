import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.data.templates import columns_of, fill

NAMES = st.text(min_size=1, max_size=12).filter(lambda n: n.strip() and not set(n) & set("{}"))
VALUES = st.text(max_size=12)


@given(st.lists(st.tuples(VALUES, NAMES, VALUES), max_size=5), VALUES)
def test_any_name_without_braces_can_be_named(parts: list[tuple[str, str, str]], end: str) -> None:
    template, expected, values = "", "", {}
    for literal, name, value in parts:
        value = values.setdefault(name, value)
        template += literal.replace("{", "{{").replace("}", "}}") + "{" + name + "}"
        expected += literal + value
    template += end.replace("{", "{{").replace("}", "}}")
    # A brace right before a column's would pair with it: `{{{name}` is a brace and a column.
    filled = fill(template, values)
    assert filled.text == expected + end
    assert list(columns_of(template)) == [name for _, name, _ in parts]
    begin, stop = filled.span
    longest = max((values[name] for _, name, _ in parts), key=len, default="")
    assert filled.text[begin:stop] == longest


@pytest.mark.parametrize("name", ["0", "Best Answer", "a.b", "a[0]", "x:y", "x!r", "é", "a,b"])
def test_names_that_python_formats_would_read_otherwise(name: str) -> None:
    assert fill("<{" + name + "}>", {name: "v"}).text == "<v>"


def test_what_was_valid_means_the_same() -> None:
    assert fill('{{"text": {a}}}', {"a": "1"}).text == '{"text": 1}'
    assert fill("no column", {}).text == "no column"


@pytest.mark.parametrize("template", ["{", "}", "{}", "{ }", "{a", "a}", "{a{b}", "{a}}", "{{a}"])
def test_a_brace_without_its_other_one_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="column's name in braces"):
        columns_of(template)
