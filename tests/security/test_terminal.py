"""No text from a file does anything to the terminal: control sequences are dropped."""

import signal
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from fake_study import write_fake_study

from paretune.cli.main import app, call
from paretune.core.errors import ParetuneError, UsageError
from tests.security.hostile import CONTROLS, write_hugging_face

HOSTILE = "".join(CONTROLS)


def is_clean(text: str) -> bool:
    """Return whether a text holds characters that are seen, spaces and line ends, and no others."""
    return all(c == "\n" or unicodedata.category(c)[0] not in "C" for c in text)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """The command line takes SIGTERM for itself; here it gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("text", CONTROLS)
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (lambda text: UsageError(f"one {text}\ntwo", hint=f"do {text}"), 2),
        (lambda text: click.UsageError(f"one {text}\ntwo"), 2),
        (lambda text: ZeroDivisionError(f"one {text}\ntwo"), 1),
        (lambda text: ParetuneError(f"one {text}\ntwo"), 1),
    ],
)
def test_an_error_is_printed_without_them(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: object,
    status: int,
    text: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error(text)  # type: ignore[operator]

    monkeypatch.setattr(app, "main", fail)
    assert call([]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert is_clean(said.err)
    assert "one " in said.err
    assert "\ntwo" in said.err  # lines stay lines


@pytest.mark.parametrize(
    "change",
    [
        {"model": HOSTILE},
        {HOSTILE: 1},
        {"passes": [{"noop": {HOSTILE: 1}}, HOSTILE]},
        {"constraints": [HOSTILE]},
        {"evaluate": [{HOSTILE: {}}]},
        {"objectives": {"maximize": HOSTILE}},
        {"data": {"d": {"file": HOSTILE, "text": "{" + HOSTILE}}},
    ],
)
def test_a_hostile_configuration_reaches_the_terminal_without_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))
    assert call(["search", str(config)]) == 2
    said = capfd.readouterr()
    assert is_clean(said.out + said.err)
    assert "fake.yaml:" in said.err


def test_a_hostile_model_and_its_file_names_do_not_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_hugging_face(tmp_path / "model", transformers_weights=HOSTILE)
    assert call(["bench", str(folder)]) == 2
    (folder / "config.json").write_text("{}")
    (folder / "a\x1b[31m\u202eb").symlink_to("/etc/passwd")
    assert call(["bench", str(folder)]) == 2
    said = capsys.readouterr().err
    assert is_clean(said)
    assert "leads out of its model's folder" in said
