"""RapidOCR's recognizer of lines, and lines drawn by Pillow with noise, whose text is known.

The network is read from the package ``rapidocr`` (Apache-2.0); nothing of it is imported. A row is
prepared as that package does it: 48 pixels high, values from -1 to 1, filled up to 320 pixels.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from networks import rapidocr_text
from networks.docstrings import described
from networks.subject import Prepared, Subject

_FILE = Path("rapidocr", "models", "PP-OCRv6_rec_small.onnx")
_LINES = 120
_HEIGHT, _WIDTH = 48, 320
_LONGEST = 26


def prepare(packages: Path, folder: Path) -> Prepared:
    """Draw the lines, and write down which output stands for which character."""
    import onnx

    network = onnx.load(str(packages / _FILE), load_external_data=False)
    listed = {entry.key: entry.value for entry in network.metadata_props}["character"]
    characters = ["", *listed.split("\n"), " "]
    (folder / "characters.json").write_text(json.dumps(characters), encoding="utf-8")
    shutil.copyfile(rapidocr_text.__file__, folder / "rapidocr_text.py")
    texts = _texts(set(characters))
    images = [_line(text, number) for number, text in enumerate(texts)]
    np.savez(folder / "lines.npz", x=np.stack(images), text=np.array(texts))
    return Prepared(
        model=str(packages / _FILE),
        data={
            "file": "lines.npz",
            "inputs": {"x": "x"},
            "target": "text",
            "split": {"test": 0.67, "seed": 0},
        },
        quality=({"recognition": {"data": "rows.test", "postprocess": "rapidocr_text.py:text"}},),
        metric="exact_match",
        constraint="exact_match >= baseline - 0.02",
        loss=0.02,
        shapes={"x": (1, 3, _HEIGHT, _WIDTH)},
        passes=({"onnx_static_int8": {"per_channel": True, "op_types_to_quantize": ["Conv"]}},),
    )


def _texts(characters: set[str]) -> list[str]:
    """Return words of docstrings, a line of them each."""
    found: dict[str, None] = {}
    for _, text in described():
        words, line = text.split(), ""
        for word in words:
            if len(line) + len(word) >= _LONGEST:
                break
            line = f"{line} {word}".strip()
        if len(line) > _LONGEST // 2 and set(line) <= characters:
            found[line] = None
    return list(found)[:_LINES]


def _line(text: str, seed: int) -> Any:
    """Return a drawn line, float32 of shape (3, 48, 320): turned, blurred, with noise."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    chance = random.Random(seed)
    font = ImageFont.load_default(size=30)
    left, top, right, bottom = font.getbbox(text)
    paper, ink = chance.randint(170, 255), chance.randint(0, 90)
    image = Image.new("L", (int(right - left) + 16, int(bottom - top) + 16), paper)
    ImageDraw.Draw(image).text((8 - left, 8 - top), text, fill=ink, font=font)
    angle = chance.uniform(-1.5, 1.5)
    image = image.rotate(angle, resample=Image.Resampling.BILINEAR, fillcolor=paper)
    image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0.5, 1.6)))
    width = min(_WIDTH, -(-image.width * _HEIGHT // image.height))
    image = image.resize((width, _HEIGHT), Image.Resampling.BILINEAR)
    noise = np.random.default_rng(seed).normal(0, chance.uniform(5, 45), (_HEIGHT, width))
    pixels = np.clip(np.asarray(image, dtype=np.float32) + noise, 0, 255)
    filled = np.zeros((3, _HEIGHT, _WIDTH), np.float32)
    filled[:, :, :width] = pixels / 127.5 - 1
    return filled


SUBJECT = Subject("rapidocr", "rapidocr", "3.10.0", _FILE, prepare)
