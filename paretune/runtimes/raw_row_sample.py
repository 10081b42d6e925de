"""Lines of ``sample.py`` for raw rows: what reads them is in the package (``paretune_rows``)."""

RAW_ROW = """\
raw = None
if (here / "paretune_rows").is_dir():
    from paretune_rows.errors import UsageError
    from paretune_rows.raw_row import RawRow

    raw = RawRow(here / "paretune_rows")
    if len(sys.argv) < 2:
        print(f"usage: python sample.py {raw.usage}, or inputs.npz")
from_row = raw is not None and "=" in "".join(sys.argv[1:2])
"""
"""For the beginning: ``here`` is the package's folder."""
ARRAYS = """\
elif len(sys.argv) > 1:
    try:
        with np.load(sys.argv[1], allow_pickle=False) as given:
            arrays = {name: given[name] for name in given.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        sys.exit(f"{sys.argv[1]}: expected arrays by name, as numpy.savez writes them: {error}")
"""
"""For the middle, after an ``if from_row``: arrays of a file."""
ANSWER = """\
answer = None
if from_row:
    try:
        answer = raw.answer(results)
    except UsageError as error:
        sys.exit(str(error))
if answer is not None:
    print(f"answer: {answer}")
"""
"""For the end: ``results`` are the outputs by name."""
