"""Files that are written in one step."""

from __future__ import annotations

import threading
from pathlib import Path

from paretune.core.jsontools import read_json, write_json


def test_two_threads_may_write_the_same_file(tmp_path: Path) -> None:
    file, errors = tmp_path / "file.json", list[BaseException]()
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        try:
            barrier.wait(60)
            for _ in range(20):
                write_json(file, {"number": number, "more": "x" * 10_000})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert read_json(file)["number"] in range(8)
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
