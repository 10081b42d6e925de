"""Lines of ``sample.py`` for raw rows: what reads them is in the package (``paretune_rows``)."""

RAW_ROW = """\
raw = None
if (here / "paretune_rows").is_dir():
    from paretune_rows.errors import DataError
    from paretune_rows.raw_row import RawRow

    raw = RawRow(here / "paretune_rows")
    if len(sys.argv) < 2:
        print(f"usage: python sample.py {raw.usage}, or inputs.npz")
from_row = raw is not None and "=" in "".join(sys.argv[1:2])
"""
"""For the beginning: ``here`` is the package's folder."""
ANSWER = """\
answer = raw.answer(results) if from_row else None
if answer is not None:
    print(f"answer: {answer}")
"""
"""For the end: ``results`` are the outputs by name."""
