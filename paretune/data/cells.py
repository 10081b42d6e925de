"""A cell of a table of arrays: numbers, or the path of an array, an image or an audio file.

The module is part of a package, too (`paretune.study.raw_rows`): of paretune it imports nothing.
"""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Reading = Literal["array", "image", "audio", "text"]
"""What a cell may hold."""
NUMBERS = "biuf"
"""Kinds of numpy's types that a network takes: numbers, true and false."""
_WIDE_MODES = ("I", "F")
_FULL_SCALE = {1: 1 << 7, 2: 1 << 15, 3: 1 << 23, 4: 1 << 31}
"""By bytes a sample: the value that is 1.0."""


class CellError(ValueError):
    """A cell cannot be read.

    Args:
        what: What it is, or what happened.
        hint: What to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True)
class Cell:
    """What a cell holds.

    Attributes:
        value: A numpy array, or text.
        rate: Sampling rate of audio, in Hz.
    """

    value: Any
    rate: int | None = None


def read_cell(value: Any, how: Reading, folder: Path) -> Cell:
    """Read one cell.

    Args:
        value: As it stands in the table, or one row of an ``.npz`` file's array.
        how: What it is.
        folder: Where relative paths start.

    Returns:
        For ``array`` an array of numbers; for ``image`` uint8 of height x width x 3, RGB; for
        ``audio`` float32 between -1 and 1, one channel; for ``text`` the text.

    Raises:
        CellError: It is not what it should be.
    """
    if hasattr(value, "dtype") and value.dtype.kind == "U" and value.ndim == 0:
        value = str(value)
    if value is None or (isinstance(value, float) and value != value and how != "array"):
        raise CellError("nothing", "Give the row its value, or remove it.")
    if how == "array":
        return Cell(_array(value, folder))
    if not isinstance(value, str):
        raise CellError(
            f"a {type(value).__name__}",
            "Expected text." if how == "text" else "Expected the path of a file.",
        )
    if how == "text":
        return Cell(value)
    path = _file(value, folder)
    return Cell(_image(path)) if how == "image" else _audio(path)


def _file(name: str, folder: Path) -> Path:
    path = folder / name
    try:
        found = path.is_file()
    except (OSError, ValueError) as error:
        raise CellError(f"{name[:60]!r}, which is not a path: {error}", "Give a path.") from error
    if not found:
        raise CellError(f"{name!r}: no such file", f"Relative paths start at {folder}.")
    return path


def _array(value: Any, folder: Path) -> Any:
    import numpy as np

    if isinstance(value, str):
        value = _of_text(value, folder)
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise CellError(f"no array: {error}", "Give lists of equal lengths.") from error
    if found.dtype.kind not in NUMBERS:
        raise CellError(
            f"an array of {found.dtype}", "Expected numbers or booleans, nested in lists."
        )
    return found


def _of_text(text: str, folder: Path) -> Any:
    """Return what text of a cell stands for: a file, or numbers as JSON writes them."""
    import numpy as np

    if text.endswith(".npy"):
        path = _file(text, folder)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CellError(
                f"{text!r}, which is not an array: {error}", "Write it by numpy.save."
            ) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise CellError(
            f"the text {text[:40]!r}",
            "Expected a list of numbers or the path of an .npy file; images, sounds and texts "
            "are named under `read:`.",
        ) from None


def _image(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(_WIDE_MODES):
                raise CellError(
                    f"{path.name!r}, an image of one channel in {image.mode}",
                    "Its values do not fit 8 bits: save it as .npy, and read it as an array.",
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, CellError):
            raise
        raise CellError(
            f"{path.name!r}, which is not read as an image: {error}", "Save it as PNG."
        ) from error


def _audio(path: Path) -> Cell:
    import numpy as np

    try:
        with wave.open(str(path), "rb") as sound:
            width, channels, rate = sound.getsampwidth(), sound.getnchannels(), sound.getframerate()
            data = sound.readframes(sound.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise CellError(
            f"{path.name!r}, which is not read as audio: {error}",
            "Expected a .wav file of whole numbers (PCM).",
        ) from error
    if width == 1:  # the only width without a sign
        samples = np.frombuffer(data, np.uint8).astype(np.float32) - _FULL_SCALE[1]
    elif width == 3:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        samples = (parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16).astype(np.int64)
        samples = samples - ((samples >= _FULL_SCALE[3]) * (1 << 24))
    else:
        samples = np.frombuffer(data, f"<i{width}")
    mono = (samples.astype(np.float64) / _FULL_SCALE[width]).reshape(-1, channels).mean(axis=1)
    return Cell(mono.astype(np.float32), rate)
