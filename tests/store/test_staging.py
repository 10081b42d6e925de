import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.store.staging import Staging

_HOLD = """
import sys, time
from pathlib import Path
from paretune.store.staging import Staging
root = Path(sys.argv[1])
with Staging(root / "staging", root / "locks").folder() as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def made(root: Path) -> Staging:
    return Staging(root / "staging", root / "locks")


def left(root: Path) -> list[Path]:
    return [*(root / "staging").iterdir(), *(root / "locks").iterdir()]


def test_nothing_is_left_whether_it_ends_well_or_not(tmp_path: Path) -> None:
    with made(tmp_path).folder() as folder:
        (folder / "inner").mkdir()

    def stopped() -> None:
        with made(tmp_path).folder() as folder:
            (folder / "half").write_text("x")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stopped()
    assert left(tmp_path) == []


def test_what_a_living_process_uses_stays_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        made(tmp_path).sweep()
        assert (folder / "half").is_file()
        os.kill(process.pid, signal.SIGKILL)
    assert folder.is_dir()
    made(tmp_path).sweep()
    assert left(tmp_path) == []


def test_a_folder_that_is_not_waited_for_has_no_file_left_and_is_gone_after_a_sweep(
    tmp_path: Path,
) -> None:
    staging = Staging(tmp_path / "staging", tmp_path / "locks")
    with staging.folder(wait=False) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
    assert not (folder / "inner" / "file").exists()
    staging.sweep()
    assert left(tmp_path) == []
