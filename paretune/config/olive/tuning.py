"""Olive's tuning of a session (``OrtSessionParamsTuning``) becomes settings of a runtime."""

from __future__ import annotations

from paretune.config.olive.adapters import Environment
from paretune.config.olive.entries import Status
from paretune.config.olive.fields import (
    Reader,
    Rule,
    apply,
    count,
    ignores,
    nearly,
    only,
    refused,
    shown,
)
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

TUNES = frozenset({"ortsessionparamstuning", "ortperftuning"})
"""Olive's names of the pass, in small letters."""
AT: Path = ("runtimes", 0, "onnxruntime")
_THREADS: list[Json] = [1, 2, 4]
_LEVELS: dict[Json, str] = {0: "disable", 1: "basic", 2: "extended", 99: "all"}
_MODES: dict[Json, str] = {0: "sequential", 1: "parallel"}
_ELSEWHERE = nearly("the providers are those of the target")


def _each(read: Reader) -> Reader:
    def values(value: Json) -> Json:
        listed = value if isinstance(value, list) else [value]
        if not listed:
            raise ValueError("no value to search over")
        return [read(each) for each in listed]

    return values


def _named(known: dict[Json, str]) -> Reader:
    def read(value: Json) -> Json:
        if type(value) is not int or value not in known:
            raise ValueError(f"expected {', '.join(map(str, known))}, found {shown(value)}")
        return known[value]

    return read


_RULES: dict[str, Rule] = {
    "execution_mode_list": Rule(_each(_named(_MODES)), "execution_mode"),
    "opt_level_list": Rule(_each(_named(_LEVELS)), "graph_optimization"),
    "intra_thread_num_list": Rule(_each(count), "threads"),
    "inter_thread_num_list": Rule(_each(count), "inter_op_threads"),
    "providers_list": _ELSEWHERE,
    "execution_providers_list": _ELSEWHERE,
    "force_evaluate_other_eps": ignores("each provider of the target is measured"),
    "device": only("cpu", why="where it is measured", otherwise="the providers say the device"),
    "cpu_cores": nearly("`threads` says how many are tried"),
    "io_bind": nearly("arrays are given and taken in the processor's memory"),
    "enable_cuda_graph": only(False, why="Olive's default", otherwise="paretune captures no graph"),
    "trt_fp16_enable": only(False, why="Olive's default", otherwise="paretune has no TensorRT"),
    "enable_profiling": only(
        False, why="Olive's default", otherwise="paretune measures unprofiled"
    ),
    "extra_session_config": refused("name the settings under `runtimes` themselves"),
    "provider_options_list": refused("paretune sets no options of a provider"),
}


def tuned(config: PassConfig, around: Environment) -> dict[str, Json]:
    """Return the settings that are searched instead of the pass, each with its values."""
    ledger = around.ledger
    if config.type is not None:
        ledger.translated(config.type.path, AT, "searched with everything else")
    data = config.settings.take("data_config")
    if data is not None:
        around.data.pass_over(data, "the evaluator `latency` measures every candidate")
    found = apply(_RULES, config.settings, ledger, AT, of="tuning a session")
    if "threads" not in found:
        found["threads"] = _THREADS
        ledger.absent(
            (*config.settings.path, "intra_thread_num_list"),
            (*AT, "threads"),
            f"Olive tries numbers of threads up to the cores; here {_THREADS}: list more",
            Status.APPROXIMATED,
        )
    return found
