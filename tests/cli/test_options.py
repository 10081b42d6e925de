"""Options that take several values."""

from pathlib import Path

import pytest

from paretune.cli.searching import search


@pytest.mark.parametrize(
    ("given", "studies"),
    [
        (["tone.yaml", "--from", "a", "b", "--trials", "3"], ["a", "b"]),
        (["--from", "a", "b", "tone.yaml"], ["a", "b"]),
        (["tone.yaml", "--from", "a", "--dry-run", "--from", "b"], ["a", "b"]),
        (["--from=a", "tone.yaml"], ["a"]),
        (["tone.yaml"], []),
    ],
)
def test_from_takes_the_folders_that_follow_it(
    given: list[str], studies: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tone.yaml").touch()
    context = search.make_context("search", given)
    assert [str(path) for path in context.params["from_studies"]] == studies
    assert context.params["config"] == Path("tone.yaml")
