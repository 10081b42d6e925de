"""What a far side built: taken over as it was built there, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import InvalidArtifactError, ParetuneError, TransientError, UsageError
from paretune.core.fidelity import Verdict, verdict_from
from paretune.core.made import Made
from paretune.core.permissions import Permissions
from paretune.core.stamps import Stamp, Stamped
from paretune.models.handle import folder_digest, open_model
from paretune.store.artifacts import Store
from paretune.targets.transports.builds import AnnouncedError, fidelity_note
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.tasks import Describer
from paretune.targets.worker import building
from paretune.targets.worker.seeds import without_known
from paretune.targets.worker.stored import found
from tests.targets.two_stores import CATALOG, Sides, two_stores


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return two_stores(tmp_path)


def test_what_was_built_there_is_as_if_it_was_built_here(sides: Sides) -> None:
    here = replace(sides.task, store=sides.folder / "alone")
    alone = building.build(here, lambda progress: None)
    value = sides.built()
    taken = sides.take(value)
    assert (taken.model.digest, taken.bytes) == (alone.model.digest, alone.bytes)
    assert taken.model.path.parent == sides.folder / "near" / "objects"
    assert folder_digest(taken.model.path) == taken.model.digest
    assert [step.step for step in taken.steps] == ["noop", "noop"]
    assert taken.made == value.made
    assert sides.near.objects() == Store(sides.folder / "alone").objects()
    keys = {action.key: action.digest for action in sides.near.actions()}
    other = {action.key: action.digest for action in Store(sides.folder / "alone").actions()}
    assert keys == other
    assert not any((sides.folder / "near" / "arriving" / "board").iterdir())
    result, made = found(sides.task, sides.near, CATALOG)
    assert result is not None
    assert result.model == taken.model
    assert len(made) == 2


def test_only_what_this_side_lacks_comes_back(sides: Sides) -> None:
    first = replace(sides.task, recipe=sides.task.recipe[:1])
    building.build(first, lambda progress: None)
    value = sides.built(sides.seeds())
    assert [bool(made.files) for made in value.made] == [False, True]
    taken = sides.take(value)
    assert len(sides.near.objects()) == 2
    assert set(sides.fetched) == {file.sha256 for file in value.made[1].files}
    assert taken.model.digest in sides.near.objects()


def test_this_side_is_right_where_both_have_built_a_step(sides: Sides) -> None:
    first = replace(sides.task, recipe=sides.task.recipe[:1])
    building.build(first, lambda progress: None)
    (seed,) = sides.seeds()
    far = sides.far
    with far.lock(seed.key), far.stage() as stage:  # it has made something else of it
        (stage / "out").mkdir()
        (stage / "out" / "config.json").write_text("{}")
        far.put(seed.key, stage / "out", "hf", seed.note)
    assert without_known(replace(sides.task, seeds=(seed,)), far).seeds == (seed,)
    taken = sides.take(sides.built((seed,)))
    action = far.action(seed.key)
    assert action is not None
    assert action.digest == seed.digest
    assert without_known(replace(sides.task, seeds=(seed,)), far).seeds != (seed,)
    assert taken.model.digest in sides.near.objects()


@pytest.mark.parametrize("change", ["gone", "written"])
def test_a_seed_that_is_not_whole_there_is_sent_again(sides: Sides, change: str) -> None:
    """It is not built again there: a training would take its time, and end with other bytes."""
    building.build(replace(sides.task, recipe=sides.task.recipe[:1]), lambda progress: None)
    (seed,) = sides.seeds()
    sides.built((seed,))
    far = sides.far
    (file,) = far.object_path(seed.digest).glob("fake.txt")
    if change == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text().swapcase())
    assert without_known(replace(sides.task, seeds=(seed,)), far).seeds == (seed,)
    sides.built((seed,))
    assert far.is_intact(seed.digest)
    action = far.action(seed.key)
    assert action is not None
    assert action.digest == seed.digest


def test_a_seed_with_another_content_is_not_taken(sides: Sides) -> None:
    building.build(replace(sides.task, recipe=sides.task.recipe[:1]), lambda progress: None)
    (seed,) = sides.seeds()
    with pytest.raises(TransientError, match="another content"):
        sides.built((replace(seed, digest="sha256:" + "0" * 64),))
    assert not sides.far.objects()


def renamed(made: Made, name: Any) -> Made:
    first, *rest = made.files
    return replace(made, files=(replace(first, name=name), *rest))


def of_size(made: Made, size: Any) -> Made:
    first, *rest = made.files
    stamp = Stamp(size, 0, (0, 0), 0)
    return replace(made, files=(replace(first, stamp=stamp), *rest))


NAMES = ["../x", "/x", "a/../../x", "", ".", "..", "x\0y", "C:x", "..\\x", "a//b", "./a", "\udc80"]
WRONG: dict[str, Callable[[Made], Made]] = {
    **{f"name {name!r}": lambda made, name=name: renamed(made, name) for name in NAMES},
    "twice": lambda made: replace(made, files=(*made.files, made.files[0])),
    "a folder": lambda made: replace(
        made, files=(*made.files, replace(made.files[0], name=f"{made.files[0].name}/x"))
    ),
    "no files": lambda made: replace(made, files=()),
    "many files": lambda made: replace(made, files=made.files * 5000),
    "key": lambda made: replace(made, key="0" * 64),
    "digest": lambda made: replace(made, digest="sha256:" + "0" * 64),
    "digest as a path": lambda made: replace(made, digest="../../x"),
    "size": lambda made: of_size(made, 5),
    "no size": lambda made: of_size(made, -1),
    "a size that is none": lambda made: of_size(made, True),
    "a size beyond any disk": lambda made: of_size(made, 1 << 59),
    "sha": lambda made: replace(made, files=(replace(made.files[0], sha256="../x"),)),
    "seconds": lambda made: replace(made, note={**made.note, "seconds": "x"}),
    "endless seconds": lambda made: replace(made, note={**made.note, "seconds": 1e300}),
    "details": lambda made: replace(made, note={**made.note, "details": [1]}),
    "long details": lambda made: replace(
        made, note={**made.note, "details": {"summary": "x" * 70_000}}
    ),
    "no comparison": lambda made: replace(made, note={}),
    "comparison": lambda made: replace(made, note={"fidelity": {"version": 1, "compared": 3}}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_build_makes_is_not_taken(sides: Sides, name: str) -> None:
    value = sides.built()
    wrong = replace(value, made=(WRONG[name](value.made[0]), *value.made[1:]))
    with pytest.raises(ParetuneError):
        sides.take(wrong)
    if name != "no comparison":  # the artifact is right, and is compared by the next build
        sides.nothing_came()
    taken = sides.take(sides.built(sides.seeds()))
    assert taken.model.digest == value.model.digest


def test_more_artifacts_than_steps_are_not_taken(sides: Sides) -> None:
    value = sides.built()
    with pytest.raises(AnnouncedError, match="3 artifacts of 2 steps"):
        sides.take(replace(value, made=(*value.made, value.made[0])))
    sides.nothing_came()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_transfer_that_breaks_off_goes_on(sides: Sides, share: float) -> None:
    for number in range(8):
        (sides.folder / "model" / f"part{number}.json").write_text(json.dumps([number] * 3000))
    model = open_model(sides.folder / "model")
    sides.task = replace(sides.task, model=model, recipe=sides.task.recipe[:1])
    value = sides.built()
    sides.change = lambda content: content[: int(share * len(content)) or 100]
    with pytest.raises(TransientError, match="broke off"):
        sides.take(value)
    sides.nothing_came()
    sides.change = lambda content: content
    once = len(sides.fetched)
    assert sides.take(value).model.digest == value.model.digest
    assert len(sides.fetched) - once == pytest.approx((1 - share) * once, abs=2.5)


def test_content_that_is_not_what_was_announced(sides: Sides) -> None:
    value = sides.built()
    sides.change = lambda content: content.replace(b"stub", b"evil")
    with pytest.raises(TransientError, match="another content"):
        sides.take(value)
    sides.nothing_came()


def test_a_model_that_names_a_file_elsewhere_is_not_taken(sides: Sides) -> None:
    """The far side built it so, and so the digests are right."""
    value, evil = sides.built(), sides.folder / "far" / "evil"
    evil.mkdir()
    index = {"weight_map": {"w": "../../../secret.safetensors"}}
    (evil / "config.json").write_text("{}")
    (evil / "model.safetensors.index.json").write_text(json.dumps(index))
    files = Describer().files_in(evil)
    for file in files:
        FileStore(sides.folder / "far").adopt(file.path, file.sha256)
    made = replace(value.made[0], digest=folder_digest(evil), files=files)
    with pytest.raises(UsageError, match=r"secret|folder"):
        sides.take(replace(value, made=(made, *value.made[1:])))
    sides.nothing_came()

    assert not any((sides.folder / "near" / "arriving" / "board").iterdir())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_code_comes_back_only_as_it_was_sent(sides: Sides, known: bool, allowed: bool) -> None:
    """With the permission this machine runs the code beside a model."""
    permissions = Permissions(remote_code=allowed)
    sides.task = replace(sides.task, recipe=sides.task.recipe[:1], permissions=permissions)
    value, other = sides.built(), sides.folder / "far" / "other"
    shutil.copytree(value.model.path, other)
    (other / "modeling.py").write_text("pass")
    (sides.folder / "model" / "modeling.py").write_text("pass" if known else "pass  # ours")
    files = Describer().files_in(other)
    for file in files:
        FileStore(sides.folder / "far").adopt(file.path, file.sha256)
    made = replace(value.made[0], digest=folder_digest(other), files=files)
    if known or not allowed:
        assert sides.take(replace(value, made=(made,))).model.digest == made.digest
        return
    with pytest.raises(AnnouncedError, match=r"the code 'modeling\.py'"):
        sides.take(replace(value, made=(made,)))
    sides.nothing_came()


def test_two_searches_receive_artifacts_that_share_a_file(sides: Sides) -> None:
    value = sides.built()

    def change(content: bytes) -> bytes:
        sides.change = lambda content: content
        # The other search has stored its own one before this one's second file comes.
        near = FileStore(sides.folder / "near", "arriving/board")
        receive = FileStore.receive

        def gone(self: FileStore, *given: Any) -> int:
            count = receive(self, *given)
            near.discard([value.made[0].files[0].sha256])
            monkeypatch.undo()
            return count

        monkeypatch.setattr(FileStore, "receive", gone)
        return content

    with pytest.MonkeyPatch.context() as monkeypatch:
        sides.change = change
        assert sides.take(value).model.digest == value.model.digest
    assert sides.fetched.count(value.made[0].files[0].sha256) > 1


def test_files_that_came_have_times_of_their_own(sides: Sides) -> None:
    """By size, time and inode an artifact's files are known; an inode is used again."""
    (sides.folder / "model" / "large.json").write_text(json.dumps("x" * (2 << 20)))
    sides.task = replace(sides.task, model=open_model(sides.folder / "model"))
    model = sides.take(sides.built()).model
    (large,) = (path for path in model.parts if path.stat().st_size > 1 << 20)
    assert large.stat().st_mtime > 1_000_000_000
    assert sides.near.is_intact(model.digest)


def test_a_build_that_computes_something_else_is_invalid(sides: Sides) -> None:
    value = sides.built()
    fidelity = {**value.made[0].note["fidelity"], "valid": False, "reason": "it is another one"}
    note = {**value.made[0].note, "fidelity": fidelity}
    wrong = replace(value, made=(replace(value.made[0], note=note), *value.made[1:]))
    with pytest.raises(InvalidArtifactError, match="it is another one"):
        sides.take(wrong)


def test_what_the_far_side_says_beside_is_not_used(sides: Sides) -> None:
    value = sides.built()
    made = tuple(
        replace(each, kind="onnx", note={**each.note, "pass": "other", "path": "/etc"})
        for each in value.made
    )
    model = replace(value.model, path=Path("/etc"), kind="onnx")
    taken = sides.take(replace(value, model=model, made=made, bytes=1, structure="sha256:9"))
    assert taken.model.kind == "hf"
    assert taken.model.path.parent == sides.folder / "near" / "objects"
    assert taken.bytes > 100
    assert taken.structure != "sha256:9"
    for action in sides.near.actions():
        assert action.note["pass"] == "noop"
        assert "path" not in action.note


def test_a_file_is_kept_without_a_second_copy_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(2 << 20))
    (folder / "small").write_bytes(b"x")
    store = FileStore(tmp_path)
    for file in Describer().files_in(folder):
        for _ in range(2):
            store.adopt(file.path, file.sha256)
        assert store.missing([file.sha256]) == ()
        assert store.path(file.sha256).samefile(file.path) is (file.name == "large")
    wrong = Stamped(folder / "small", "small", Stamp(1, 0, (0, 0), 0), "0" * 64)
    with pytest.raises(TransientError, match="another content"):
        store.adopt(wrong.path, wrong.sha256)
    with pytest.raises(TransientError, match="is gone"):
        store.adopt(folder / "nowhere", "0" * 64)


def test_a_comparison_of_arrays_comes_back() -> None:
    figures = {"output_error": 0.1, "outputs": {"y": 0.1, "z": None}, "runs": 4, "bound": 1.0}
    kept = Verdict(figures, beside={"left_out": ["z is not finite"]}, of_arrays=True).to_json()
    note = fidelity_note({"fidelity": {**kept, "seconds": 0.5}})
    assert verdict_from(note) == Verdict(
        figures, beside={"left_out": ["z is not finite"]}, of_arrays=True
    )
    for wrong in ({"runs": -1}, {"outputs": {"y": "a"}}, {"outputs": 3}, {"output_error": "x"}):
        with pytest.raises(AnnouncedError, match="a comparison that is none"):
            fidelity_note({"fidelity": {**kept, "compared": {**figures, **wrong}}})
