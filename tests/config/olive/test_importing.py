"""`paretune import-olive`, and `run` and `search` on Olive's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import paretune
from fake_study import write_stub_model
from hypothesis import HealthCheck, given, settings

from paretune.config import Plan, load
from paretune.config.olive.importing import read_import
from paretune.config.olive.source import open_source
from paretune.core.errors import ConfigError, UsageError
from tests.config.olive.olive_files import build_only, flat, nested, whole
from tests.config.olive.test_nothing_in_silence import mutated
from tests.tiny_models import make_tiny_llama

ROWS = [{"phrase": f"phrase {i}", "tone": ("joy", "fear")[i % 2]} for i in range(8)]


def written(folder: Path, value: Any, name: str = "olive.json") -> Path:
    """Write a configuration with its model and its data beside it."""
    if not (folder / "models" / "tiny").exists():
        write_stub_model(folder / "models" / "tiny")
        (folder / "tone.json").write_text("\n".join(map(json.dumps, ROWS)))
    file = folder / name
    file.write_text(json.dumps(value, indent=1))
    return file


def same(one: Plan, other: Plan) -> bool:
    return one.to_json() == other.to_json()


def quantized() -> dict[str, Any]:
    value = flat()
    value["passes"]["l"]["type"] = "QLoRA"
    return value


@pytest.mark.parametrize("form", [nested, flat, quantized, build_only])
def test_what_is_written_is_what_run_makes_of_the_json(tmp_path: Path, form: Any) -> None:
    file = written(tmp_path, form())
    read_import(file, None).write()
    ours = tmp_path / "olive.yaml"
    assert yaml.safe_load(ours.read_text()) == whole(form())
    assert same(load(ours), load(file))
    assert load(file).text == file.read_text()


def test_the_command_writes_our_yaml_and_lists_every_key(tmp_path: Path) -> None:
    value = nested(engine={"cache_dir": "my cache", "output_dir": "models/out"})
    written(tmp_path, value)
    seen = paretune("import-olive", "olive.json", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    for line in (
        "approximated (1)",
        "translated (",
        "added (",
        "passes.l.config.torch_dtype",
        "  passes.b.config.precision -> passes[2].genai.precision",
    ):
        assert line in seen.stdout
    command = "paretune run olive.yaml --study models/out --store 'my cache'"
    assert seen.stdout.endswith(f"wrote olive.yaml; next: {command}\n")
    text = (tmp_path / "olive.yaml").read_text()
    assert f"# Run it: {command}" in text
    assert "# - passes.l.config.torch_dtype: Olive's default is bfloat16" in text
    again = paretune("import-olive", "olive.json", cwd=tmp_path)
    assert again.returncode == 2
    assert "olive.yaml already exists" in again.stderr
    assert "--out" in again.stderr


def test_what_is_unsupported_is_named_all_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    value = build_only(evaluator={"type": "LMEvaluator"}, foo=1)
    value["passes"] |= {"c": {"type": "OnnxConversion"}, "a": {"type": "AutoAWQQuantizer"}}
    written(tmp_path, value)
    for command in (
        ("import-olive", "olive.json"),
        ("run", "olive.json"),
        ("search", "olive.json", "--dry-run"),
    ):
        seen = paretune(*command, cwd=tmp_path)
        assert seen.returncode == 2
        assert "4 keys of this Olive configuration are not supported" in seen.stderr
        for place in (
            ":12: passes.c.type:",
            ":15: passes.a.type:",
            ":19: evaluator.type:",
            ":21: foo:",
        ):
            assert f"olive.json{place}" in seen.stderr
        assert "Traceback" not in seen.stderr
    assert not list(tmp_path.glob("*.yaml"))
    shown = paretune("import-olive", "olive.json", "--json", cwd=tmp_path)
    assert shown.returncode == 2
    told = json.loads(shown.stdout)
    assert told["written"] is None
    assert {e["key"] for e in told["entries"] if e["status"] == "unsupported"} == {
        "passes.c.type",
        "passes.a.type",
        "evaluator.type",
        "foo",
    }


def test_json_lists_the_same(tmp_path: Path) -> None:
    written(tmp_path, build_only())
    shown = paretune("import-olive", "olive.json", "--json", "--out", "x.yaml", cwd=tmp_path)
    told = json.loads(shown.stdout)
    assert told["written"] == "x.yaml"
    assert (tmp_path / "x.yaml").is_file()
    assert {
        "key": "passes.b.precision",
        "status": "translated",
        "into": "passes[0].genai.precision",
        "why": None,
    } in told["entries"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[1]", b"{", b'{"model": "x"}', b"x: ["])
def test_what_is_no_olive_configuration(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.json"):
        read_import(file, None)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_import(tmp_path / "absent.json", None)


def test_relative_paths_hold_where_ours_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    file = written(inside, flat())
    (tmp_path / "c").mkdir()
    read_import(file, tmp_path / "c" / "ours.yaml").write()
    config = yaml.safe_load((tmp_path / "c" / "ours.yaml").read_text())
    assert config["model"] == "../a/b/models/tiny"
    assert config["data"]["tone"]["file"] == "../a/b/tone.json"
    assert same(load(tmp_path / "c" / "ours.yaml"), load(file))
    # What is in the working folder only is found from there.
    (inside / "tone.json").rename(tmp_path / "tone.json")
    monkeypatch.chdir(tmp_path)
    assert load(file).data["tone"].file == "tone.json"
    read_import(file, tmp_path / "c" / "again.yaml").write()
    config = yaml.safe_load((tmp_path / "c" / "again.yaml").read_text())
    assert config["data"]["tone"]["file"] == "../tone.json"
    hub = build_only(input_model={"type": "HfModel", "model_path": "org/name"})
    read_import(written(inside, hub), tmp_path / "c" / "hub.yaml").write()
    assert yaml.safe_load((tmp_path / "c" / "hub.yaml").read_text())["model"] == "org/name"


def test_errors_of_a_run_point_at_the_jsons_keys(tmp_path: Path) -> None:
    value = flat()
    file = written(tmp_path, value)
    value["input_model"]["model_path"] = "nowhere"
    file.write_text(json.dumps(value, indent=1))
    with pytest.raises(ConfigError, match=r"olive\.json:4: input_model\.model_path: .*nowhere"):
        load(file)
    value = flat()
    value["data_configs"][0]["load_dataset_config"]["data_files"] = "absent.json"
    with pytest.raises(UsageError, match=r"absent\.json"):
        load(written(tmp_path, value))


def test_a_run_tells_what_is_not_quite_the_same(tmp_path: Path) -> None:
    (note,) = load(written(tmp_path, nested())).notes
    assert "passes.l.config.torch_dtype" in note
    assert "paretune import-olive" in note
    assert load(written(tmp_path, build_only())).notes == ()


def test_the_jsons_folders_are_the_defaults(tmp_path: Path) -> None:
    folders = build_only(cache_dir="cache", output_dir="../out")
    plan = load(written(tmp_path, folders))
    assert (plan.store, plan.study) == (tmp_path / "cache", tmp_path / "../out")
    assert load(written(tmp_path, build_only())).store is None


def test_config_may_stand_behind_its_switch_as_in_olive(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "models" / "tiny")
    written(tmp_path, build_only(target={"type": "LocalSystem", "accelerators": ["gpu"]}))
    for words in (
        ("run", "olive.json"),
        ("run", "--config", "olive.json"),
        ("search", "--config", "olive.json", "--dry-run"),
    ):
        seen = paretune(*words, cwd=tmp_path)
        assert seen.returncode == 2
        assert "cuda" in seen.stdout + seen.stderr
    for words in (("run",), ("run", "a.yaml", "--config", "b.yaml")):
        seen = paretune(*words, cwd=tmp_path)
        assert seen.returncode == 2
        assert "expected one configuration" in seen.stderr


def test_the_help_names_the_command(tmp_path: Path) -> None:
    assert "  import-olive " in paretune("--help", cwd=tmp_path).stdout


def test_json_that_pyyaml_alone_would_not_read(tmp_path: Path) -> None:
    value = flat()
    value["data_configs"][0]["pre_process_data_config"]["text_template"] = "😀 \\ud83d {tone}\t!"
    file = written(tmp_path, value)
    text = json.dumps(value, indent="\t")
    assert "\\ud83d\\ude00" in text
    file.write_text("\ufeff" + text)
    assert load(file).data["tone"].text == "😀 \\ud83d {tone}\t!"
    half = text.replace("\\ude00", "")
    file.write_text(half)
    with pytest.raises(ConfigError, match="surrogate"):
        load(file)


def test_a_strangers_file_has_limits_and_writes_nothing_between_the_lines(tmp_path: Path) -> None:
    deep = '{"input_model": ' + "[" * 60 + "]" * 60 + "}"
    with pytest.raises(ConfigError, match="levels deep"):
        open_source(deep, "x.json")
    with pytest.raises(ConfigError, match="larger than"):
        open_source('{"input_model": "' + "x" * (1 << 20) + '"}', "x.json")
    with pytest.raises(ConfigError, match="given twice"):
        open_source('{"input_model": 1, "input_model": 2}', "x.json")
    sly = "b\nmodel: stolen\n\x1b[31m"
    value = build_only(
        passes={sly: {"type": "ModelBuilder", "precision": "int4", "output_name": "x"}}
    )
    found = read_import(written(tmp_path, value), None)
    found.write()
    text = (tmp_path / "olive.yaml").read_text()
    assert yaml.safe_load(text)["model"] == "models/tiny"
    assert "\x1b" not in text
    seen = paretune("import-olive", "olive.json", "--out", "again.yaml", cwd=tmp_path)
    assert "\x1b" not in seen.stdout


def test_yaml_that_is_olives_is_taken_too(tmp_path: Path) -> None:
    written(tmp_path, build_only())
    (tmp_path / "olive.yml").write_text(yaml.safe_dump(build_only()))
    assert same(load(tmp_path / "olive.yml"), load(tmp_path / "olive.json"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_load_ends_in_a_plan_or_a_clean_error(tmp_path: Path, value: Any) -> None:
    try:
        load(written(tmp_path, value))
    except UsageError as error:
        assert error.exit_status == 2
