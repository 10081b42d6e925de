"""silero-vad (voice activity, with a state), and speech by espeak-ng between silences.

The network is read from the package ``silero-vad`` (MIT); nothing of it is imported. A row is a
sequence of steps of 32 ms, each with the 4 ms before it, as that package runs it. Where there is no
espeak-ng, the sound is made up: harmonics whose pitch and loudness move as a voice's do.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
from networks.docstrings import described
from networks.subject import Prepared, Subject

# The one file without branches, of a fixed rate: 16 kHz.
_FILE = Path("silero_vad", "data", "silero_vad_openvino_16k.onnx")
_RATE, _NEW, _BEFORE = 16_000, 512, 64
_STEPS = 40
_ROWS = 60


def prepare(packages: Path, folder: Path) -> Prepared:
    """Write the sound as sequences of steps."""
    rows = np.stack([_steps(_sound(number, text)) for number, text in enumerate(_texts())])
    np.savez(folder / "sound.npz", input=rows)
    return Prepared(
        model={"path": str(packages / _FILE), "state": {"stateN": "state"}},
        data={
            "file": "sound.npz",
            "inputs": {"input": "input"},
            "split": {"test": 0.67, "seed": 0},
        },
        quality=({"agreement": {"data": "rows.test", "output": "output"}},),
        metric="max_abs_difference",
        constraint="max_abs_difference <= 0.1",
        loss=0.1,
        shapes={"input": (1, _STEPS, _BEFORE + _NEW)},
        state={"stateN": "state"},
    )


def made_by() -> str:
    """Return what makes the sound."""
    return "espeak-ng" if shutil.which("espeak-ng") else "made-up voice"


def _texts() -> list[str]:
    return [text for text, _ in described()[:_ROWS]]


def _sound(number: int, text: str) -> Any:
    """Return the samples of a row: silence, a voice, silence, with some noise over all of it."""
    chance, noise = random.Random(number), np.random.default_rng(number)
    silence = [np.zeros(int(chance.uniform(0.1, 0.4) * _RATE)) for _ in range(2)]
    voice = _spoken(text) if shutil.which("espeak-ng") else _made_up(chance)
    length = int(0.6 * _RATE)
    start = chance.randrange(max(1, len(voice) - length))
    whole = np.concatenate([silence[0], voice[start : start + length], silence[1]])
    wanted = _STEPS * _NEW
    whole = np.pad(whole, (0, max(0, wanted - len(whole))))[:wanted]
    return (whole + noise.normal(0, chance.uniform(0.001, 0.02), wanted)).astype(np.float32)


def _spoken(text: str) -> Any:
    """Return the samples of a text that espeak-ng speaks, at 16 kHz, from -1 to 1."""
    command = ["espeak-ng", "--stdout", text]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        # The header of what goes to a pipe does not say how many frames there are.
        samples = np.frombuffer(file.readframes(1 << 24), np.int16) / 32768
    places = np.arange(int(len(samples) * _RATE / rate)) * rate / _RATE
    return np.interp(places, np.arange(len(samples)), samples)


def _made_up(chance: random.Random) -> Any:
    """Return two seconds of harmonics of a moving pitch, louder and softer four times a second."""
    time = np.arange(2 * _RATE) / _RATE
    pitch = chance.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * chance.uniform(1, 4) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 20))
    return 0.2 * voice * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))


def _steps(samples: Any) -> Any:
    """Return the steps of a sound, float32 of shape (steps, 576)."""
    padded = np.concatenate([np.zeros(_BEFORE, np.float32), samples])
    return np.stack([padded[n * _NEW : (n + 1) * _NEW + _BEFORE] for n in range(_STEPS)])


SUBJECT = Subject("silero", "silero-vad", "6.2.3", _FILE, prepare)
