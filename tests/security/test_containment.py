"""What a model names lies in its own folder: anything else is refused before a library opens it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.child_interpreter import calling
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.containment import check_model, inside
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.runtimes.serving import open_session
from tests.security.hostile import write_genai, write_hugging_face, write_pickle

CPU = RuntimeSettings("cpu", 1)
OUT = (
    "../secret",
    "a/../../secret",
    "..",
    "/etc/passwd",
    "..\\secret",
    "C:\\secret",
    "C:secret",
    "\\\\host\\share",
    "//host/share",
    "a\0b",
    "",
    "x" * 5000,
    "absent",
)


def index(folder: Path, *names: Any) -> Path:
    content = {"metadata": {}, "weight_map": {f"w{i}": name for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", OUT)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="somewhere: key names"):
        inside(tmp_path / "model", name, "somewhere: key")


@pytest.mark.parametrize("name", [None, 3, ["model.onnx"], {"a": 1}])
def test_a_name_is_a_text(tmp_path: Path, name: Any) -> None:
    with pytest.raises(UsageError, match="expected a file in the model's folder"):
        inside(tmp_path, name, "somewhere")


def test_names_inside_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.onnx", "sub/b..c", "..d"):
        (tmp_path / name).write_text("x")
        assert inside(tmp_path, name, "") == tmp_path / name
    with pytest.raises(UsageError, match="no such file"):
        inside(tmp_path, "sub", "")
    assert inside(tmp_path, "sub", "", or_folder=True).is_dir()


@pytest.mark.parametrize("name", [n for n in OUT if n])
def test_an_index_of_weights_may_not_lead_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(UsageError, match="weight_map names"):
        open_model(index(write_hugging_face(tmp_path / "model"), "model.safetensors", name))


def test_an_index_names_safetensors_only(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model")
    assert open_model(index(folder, "model.safetensors")).kind is ModelKind.HF
    write_pickle(folder / "shard.bin", tmp_path / "sign")
    with pytest.raises(UsageError, match=r"'shard.bin', expected a \.safetensors file"):
        open_model(index(folder, "model.safetensors", "shard.bin"))


@pytest.mark.parametrize("name", ["adapter_model.bin", "../x.safetensors", 5, "other.txt"])
def test_a_configuration_that_names_its_weights(tmp_path: Path, name: Any) -> None:
    """``transformers_weights`` wins over every other file, and over use_safetensors too."""
    folder = write_hugging_face(tmp_path / "model", transformers_weights=name)
    (tmp_path / "x.safetensors").write_bytes(b"x")
    for file in ("adapter_model.bin", "other.txt"):
        write_pickle(folder / file, tmp_path / "sign")
    with pytest.raises(UsageError, match=r"config\.json: transformers_weights names"):
        open_model(folder)


def test_an_index_of_another_name_is_looked_into(tmp_path: Path) -> None:
    name = "other.safetensors.index.json"
    folder = write_hugging_face(tmp_path / "model", transformers_weights=name)
    index(folder, "model.safetensors").joinpath("model.safetensors.index.json").rename(
        folder / name
    )
    assert open_model(folder).kind is ModelKind.HF
    (folder / name).write_text(json.dumps({"weight_map": {"w": "../x.safetensors"}}))
    with pytest.raises(UsageError, match=r"other\.safetensors\.index\.json: weight_map names"):
        open_model(folder)


@pytest.mark.parametrize("name", [n for n in OUT if n])
@pytest.mark.parametrize(
    "place",
    [
        ("decoder", "filename"),
        ("decoder", "pipeline", "stage", "filename"),
        ("decoder", "shared_initializers", "data_file"),
        ("encoder", "filename"),
        ("vision", "config_filename"),
        ("speech", "adapter_filename"),
        ("tokenizer_dir",),
    ],
)
def test_a_genai_configuration_may_not_lead_out(
    tmp_path: Path, place: tuple[str, ...], name: str
) -> None:
    folder = write_genai(tmp_path / "model")
    config = json.loads((folder / "genai_config.json").read_text())
    here = config["model"]
    for key in place[:-1]:
        here = here.setdefault(key, {})
    here[place[-1]] = name
    (folder / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=rf"model\.{'.'.join(place)} names"):
        open_model(folder)
    with pytest.raises(InvalidArtifactError, match=r"does not load: .* names"):
        open_session(Model(ModelKind.GENAI, folder, ""), CPU)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("custom_ops_library", "evil.so"),  # native code: its constructor runs as it is loaded
        ("enable_profiling", "trace"),  # writes trace_DATE.json into the working folder
        ("session.optimized_model_filepath", "written"),
        ("session.collect_node_memory_stats_to_file", "written"),
        ("session.resource_cuda_partitioning_settings", "1,stats"),
        ("session.named_by_no_one_yet", "written"),
        ("ep.context_file_path", "x"),
        ("log_id", "../x"),
        ("log_id", "/x"),
    ],
)
@pytest.mark.parametrize("where", ["session_options", "run_options", "provider_options"])
def test_settings_may_not_load_libraries_nor_write(
    tmp_path: Path, where: str, option: str, value: str
) -> None:
    options: Any = {option: value}
    if where == "provider_options":
        options, where = {"provider_options": [{"cuda": options}]}, "session_options"
    folder = write_genai(tmp_path / "model", **{where: options})
    with pytest.raises(UsageError, match=rf"{option}: .* is refused"):
        open_model(folder)


def test_the_settings_that_builders_write_are_taken(tmp_path: Path) -> None:
    options = {
        "log_id": "onnxruntime-genai",
        "intra_op_num_threads": 2,
        "graph_optimization_level": "ORT_ENABLE_ALL",
        "enable_profiling": None,
        "session.intra_op.allow_spinning": "0",
        "session.intra_op_thread_affinities": "1;2,3",
        "provider_options": [{"cuda": {"enable_cuda_graph": "1", "device_id": 0}}],
    }
    assert open_model(write_genai(tmp_path / "model", session_options=options)).digest


@pytest.mark.parametrize("file", ["tokenizer_config.json", "tokenizer_module.json"])
def test_a_genai_tokenizer_may_not_lead_out(tmp_path: Path, file: str) -> None:
    folder = write_genai(tmp_path / "model")
    (folder / file).write_text(json.dumps({"tiktoken_file": "../secret"}))
    with pytest.raises(UsageError, match="tiktoken_file names"):
        open_model(folder)


def test_the_process_that_takes_the_footprint_looks_first(tmp_path: Path) -> None:
    folder = write_genai(tmp_path / "model", filename="../secret.onnx")
    command = calling(
        "paretune.evaluators.footprint_probe:main",
        str(folder),
        "genai",
        '{"provider": "cpu", "threads": 1}',
    )
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "names '../secret.onnx'" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("config", [{}, {"model": 1}, {"model": {"decoder": []}}, {"model": {}}])
def test_a_genai_configuration_has_a_decoder(tmp_path: Path, config: Any) -> None:
    folder = write_genai(tmp_path / "model")
    (folder / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"expected model\.decoder"):
        open_model(folder)


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    """Python would believe the last one, another parser both."""
    folder = write_genai(tmp_path / "model")
    text = (folder / "genai_config.json").read_text()
    text = text.replace('"decoder"', '"decoder": {"filename": "../x"}, "decoder"', 1)
    (folder / "genai_config.json").write_text(text)
    with pytest.raises(UsageError, match="the key 'decoder' is given twice"):
        open_model(folder)


@pytest.mark.parametrize("write", [write_hugging_face, write_genai])
@pytest.mark.parametrize("to", ["file", "folder", "nothing", "itself"])
def test_a_link_may_not_lead_out(tmp_path: Path, write: Any, to: str) -> None:
    folder = write(tmp_path / "model")
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (folder / "link").symlink_to(folder / "link" if to == "itself" else tmp_path / to)
    with pytest.raises(UsageError, match="leads out of its model's folder"):
        open_model(folder)
    with pytest.raises(InvalidArtifactError, match="leads out of its model's folder"):
        open_session(Model(ModelKind.GENAI, folder, ""), CPU)


def test_a_link_to_a_folder_is_refused_as_its_files_would_not_be_hashed(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model")
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    with pytest.raises(UsageError, match="is a link to a folder"):
        open_model(folder)


def test_a_link_inside_becomes_a_file_in_the_package(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model")
    shutil.copyfile(folder / "model.safetensors", folder / "real")
    with open(folder / "real", "ab") as file:
        file.truncate(2 << 20)  # large enough to be linked
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "real")
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=True)
    assert not (package.path / "model.safetensors").is_symlink()
    assert os.path.samefile(package.path / "model.safetensors", folder / "real")
    check_model(package.path)


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model")
    try:
        (folder / os.fsdecode(b"\xff.txt")).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UsageError, match=r"file name '\\udcff\.txt' is not UTF-8"):
        open_model(folder)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    folder = write_genai(tmp_path / "model", filename="pipe.onnx")
    os.mkfifo(folder / "pipe.onnx")
    with pytest.raises(UsageError, match="no such file"):
        open_model(folder)
