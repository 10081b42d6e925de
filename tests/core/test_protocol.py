"""The conversation with an agent: its messages, their schema, and a recorded one replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core import protocol
from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.core.job import Build, BuildResult, Call, Limits, Measure, Smoke, Task, task_from_json
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.permissions import Permissions
from paretune.core.result import StepTime
from paretune.core.stamps import InputFiles, take

ROOT = Path(__file__).resolve().parents[2]
RECORDED = (ROOT / "tests" / "fixtures" / "conversation.txt").read_text().splitlines()
"""Lines of a conversation: what the parent says after ``> ``, what the agent says after ``< ``."""
SCHEMA = json.loads((ROOT / "paretune" / "schemas" / "protocol.schema.json").read_text())
MODEL = Model(ModelKind.HF, Path("/m"), "sha256:1", Model(ModelKind.HF, Path("/b"), "sha256:2"))


def tasks(folder: Path) -> list[Task]:
    file = folder / "tone.csv"
    file.write_text("a,b\n")
    inputs = (InputFiles("data tone", (take(file),)), InputFiles("model", (), Path("/m")))
    data: dict[str, Json] = {"root": str(folder), "specs": {}}
    return [
        Build(
            model=MODEL,
            recipe=(Step("lora", {"r": 4}), Step("merge")),
            provider="cpu",
            store=folder,
            study=folder / "study",
            data=data,
            inputs=inputs,
            permissions=Permissions(network=True),
        ),
        Smoke(model=MODEL, runtime=RuntimeSettings("cpu", 2, (("level", "all"),))),
        Measure(
            model=MODEL,
            runtime=RuntimeSettings(),
            evaluator="generation",
            params={"n": [1, None, "x"]},
            rung=Rung.ROUGH,
            seconds=0.5,
            examples=3,
            block=True,
            previous={"ms": Measurement("ms", 1.5, "ms", samples=(1.0, 2.0))},
            data=data,
        ),
        Call("module:function", {"a": {"b": 1}}),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_task_survives_json(tmp_path: Path, number: int) -> None:
    task = tasks(tmp_path)[number]
    told = json.loads(json.dumps(task.to_json()))
    assert task_from_json(told) == task


def test_values_survive_json() -> None:
    built = BuildResult(
        MODEL, (StepTime("lora", 1.5, True),), 7, ("x was set aside",), structure="sha256:1"
    )
    build, _, measure, _ = TASKS_WITHOUT_FILES
    assert build.value_from_json(json.loads(json.dumps(build.value_to_json(built)))) == built
    measured = [Measurement("ms", 1.5, "ms", n=2, samples=(1.0, 2.0))]
    told = json.loads(json.dumps(measure.value_to_json(measured)))
    assert measure.value_from_json(told) == measured


TASKS_WITHOUT_FILES: tuple[Task, ...] = (
    Build(model=MODEL, recipe=(), provider="cpu", store=Path("s"), data={}),
    Smoke(model=MODEL, runtime=RuntimeSettings()),
    Measure(model=MODEL, runtime=RuntimeSettings(), evaluator="e", params={}, data={}),
    Call("m:f"),
)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"kind": "biuld"}, "Did you mean 'build'"),
        ({}, "no kind of job named ''"),
        ({"kind": "call"}, "'call' cannot be read"),
        ({"kind": "measure", "rung": "high"}, "'measure' cannot be read"),
    ],
)
def test_what_is_no_task_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        task_from_json(told)


def test_the_schema_that_ships_is_that_of_the_messages() -> None:
    assert protocol.schema() == SCHEMA, "write it anew: python -m tests.core.test_protocol"


def test_every_message_of_the_recorded_conversation_is_in_the_schema_and_stays_the_same() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    seen = set()
    for line in RECORDED:
        text = line[2:]
        assert validator.is_valid(json.loads(text)) is ('"kind": "biuld"' not in text)
        message = protocol.read(text.encode())
        assert json.loads(message.line()) == json.loads(text)
        seen.add(message.type)
    others = {"need", "have"}  # where no folder is shared
    assert seen | others == {
        each["allOf"][1]["properties"]["type"]["const"] for each in SCHEMA["oneOf"]
    }


@pytest.mark.parametrize(
    "line", [b"", b"Welcome!\n", b"[]", b'{"type": "helo"}', b'{"type": "go"}']
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError, match="no message of protocol"):
        protocol.read(line)


def test_a_parent_of_another_protocol_is_told_which_one_this_is() -> None:
    """Protocol 3 had `preload` in the place of `packages`; each side reads the other's hello."""
    older = b'{"type": "hello", "protocol": 3, "store": null, "shared": true, "preload": true}'
    said = protocol.read(older)
    assert said == protocol.Hello(3)
    command = [sys.executable, "-P", "-m", "paretune.targets.agent"]
    done = subprocess.run(command, input=older + b"\n", capture_output=True, check=True)
    answer = protocol.read(done.stdout)
    assert isinstance(answer, protocol.Described)
    assert answer.protocol == protocol.VERSION


def test_the_agent_answers_as_it_was_recorded() -> None:
    agent = subprocess.Popen(
        [sys.executable, "-P", "-m", "paretune.targets.agent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        for line in RECORDED:
            if line.startswith("> "):
                agent.stdin.write(line[2:].encode() + b"\n")
                agent.stdin.flush()
            else:
                said = json.loads(agent.stdout.readline())
                assert comparable(said) == comparable(json.loads(line[2:]))
        agent.stdin.close()
        assert agent.stdout.read() == b""
        assert agent.wait(60) == 0


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same on every machine."""
    varies = ("device", "version", "plugins", "runtimes", "seconds", "peak_memory", "limits")
    kept = {key: value for key, value in message.items() if key not in (*varies, "interference")}
    return {**kept, "log": "" if "log" not in kept else kept["log"][:9]}


def without_places(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what tells where it was recorded."""
    if "device" in message:
        here = TargetInfo.from_json(message["device"])
        message["device"] = replace(here, processor="any", os="Linux", boot_id="").to_json()
    return {**message, "log": message["log"][:9]} if "log" in message else message


def record() -> None:
    """Write the fixture: what is said to an agent, and what it answers."""
    adding: dict[str, Json] = {"a": 1, "b": 2}
    jobs = "paretune.testing.jobs"
    add, fail = Call(f"{jobs}:add", adding), Call(f"{jobs}:fail", {"message": "no"})
    smoke = Smoke(
        model=Model(ModelKind.HF, Path("/nowhere"), "sha256:0"), runtime=RuntimeSettings()
    )
    script: list[tuple[protocol.Message, int]] = [  # and how many answers follow
        (protocol.Hello(protocol.VERSION), 1),
        (protocol.Run(1, add.to_json(), Limits(60.0)), 1),
        (protocol.Run(2, fail.to_json()), 1),
        (protocol.Run(3, smoke.to_json()), 2),
        (protocol.Run(4, Call(f"{jobs}:sleep", {"seconds": 900}).to_json()), 0),
        (protocol.Cancel(4), 1),
        (protocol.Run(5, add.to_json(), turns=True), 1),
        (protocol.Go(5), 1),
        (protocol.Go(5), 1),
        (protocol.Run(6, {"kind": "biuld"}), 1),
    ]
    command = [sys.executable, "-P", "-m", "paretune.targets.agent"]
    lines = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        for message, answers in script:
            agent.stdin.write(message.line())
            agent.stdin.flush()
            lines.append(f"> {message.line().decode()}")
            said = [json.loads(agent.stdout.readline()) for _ in range(answers)]
            lines += [f"< {json.dumps(without_places(each))}\n" for each in said]
        agent.stdin.close()
    (ROOT / "tests" / "fixtures" / "conversation.txt").write_text("".join(lines))


if __name__ == "__main__":
    place = ROOT / "paretune" / "schemas" / "protocol.schema.json"
    place.write_text(json.dumps(protocol.schema(), indent=1) + "\n")
    record()
