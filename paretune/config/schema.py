"""The configuration's own keys, as classes; passes and evaluators bring theirs."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
)

from paretune.config.model_section import ModelSource
from paretune.config.section import Section
from paretune.data.catalog import DataSpec
from paretune.search.stop_rule import AFTER

_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h)?\s*")
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(MB|GB)\s*", re.IGNORECASE)


def seconds(value: Any) -> Any:
    """Return ``90s``, ``10m``, ``2h`` or a number as seconds."""
    if isinstance(value, str):
        found = _TIME.fullmatch(value)
        if found is None:
            raise ValueError("expected a time such as 90s, 10m or 2h")
        return _finite(float(found[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[found[2]])
    return value


def megabytes(value: Any) -> Any:
    """Return ``800MB`` or ``8GB`` as MB (10^6 bytes)."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None:
            raise ValueError("expected a size such as 800MB or 8GB")
        return _finite(float(found[1]) * {"MB": 1, "GB": 1000}[found[2].upper()])
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def as_list(value: Any) -> Any:
    """Return one value as a list of it."""
    return value if isinstance(value, list) else [value]


Seconds = Annotated[
    float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(gt=0)
]
SecondsOrNone = Annotated[
    float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0)
]
"""As `Seconds`; 0 turns off what it limits."""
Megabytes = Annotated[
    float, BeforeValidator(megabytes, json_schema_input_type=float | str), Field(gt=0)
]


Names = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
Counts = Annotated[
    list[Annotated[int, Field(ge=1, le=1024)]],
    BeforeValidator(as_list, json_schema_input_type=int | list[int]),
]


class TargetSection(Section):
    """Where candidates run, and with which runtime settings."""

    name: str = Field("local", description="Where models are built and measured: this machine.")
    build: str | None = Field(None, description="Where models are built, if not at `name`: local.")
    measure: str | None = Field(
        None, description="Where models are measured: local, or a name declared in `targets`."
    )
    providers: Names = Field(
        ["cpu"], min_length=1, description="Execution providers to try: cpu, cuda, dml, openvino."
    )
    threads: Counts = Field(
        [],
        description="Thread counts to try; by default the number of available physical cores.",
    )


class TargetUse(Section):
    """What a study with a list of targets does on one of them."""

    name: str = Field(description="local, or a name declared in `targets`.")
    does: Literal["build", "measure", "both"] | None = Field(
        None,
        description="What runs there: `build`, `measure` or `both`. Default: both for local, "
        "measure for a declared one.",
    )
    slots: int | None = Field(
        None, ge=1, le=64, description="Builds at the same time there. Default: 1."
    )
    providers: Names | None = Field(
        None, min_length=1, description="Execution providers to try there; default: cpu."
    )
    threads: Counts | None = Field(
        None,
        min_length=1,
        description="Thread counts to try there; by default the number of available physical "
        "cores of this machine.",
    )


ONE, SEVERAL = "one", "several"


def _form(value: Any) -> str:
    """Return which form of ``target:`` was written."""
    return SEVERAL if isinstance(value, (list, tuple)) else ONE


Target = Annotated[
    Annotated[TargetSection, Tag(ONE)]
    | Annotated[list[TargetUse], Tag(SEVERAL), Field(min_length=1)],
    Discriminator(_form),
]


class KeyVaultSecret(Section):
    """A secret of a key vault, which a job reads itself."""

    key_vault: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="The key vault's name.")
    secret: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="The secret's name in it.")


class AzuremlSection(Section):
    """A compute of an Azure Machine Learning workspace."""

    subscription_id: str | None = Field(None, description="Id of the workspace's subscription.")
    resource_group: str | None = Field(None, description="The workspace's resource group.")
    workspace_name: str | None = Field(None, description="The workspace's name.")
    workspace: str | None = Field(
        None,
        description="In place of the three: the file config.json that Azure's portal offers.",
    )
    compute: str = Field(description="A compute cluster, or an attached Kubernetes compute.")
    instance_type: str | None = Field(None, description="Instance type of a Kubernetes compute.")
    instance_count: int = Field(1, ge=1, le=64, description="Nodes of one job.")
    accelerators: list[Literal["cpu", "gpu"]] = Field(
        [], description="What the compute has: `gpu` chooses the runtimes' packages for it."
    )
    image: str = Field(description="Container image in which jobs run.")
    conda: str | None = Field(
        None, description="Conda file of their packages, translated line by line."
    )
    hf_token: Annotated[
        Annotated[bool, Tag("flag")] | Annotated[KeyVaultSecret, Tag("secret")],
        Discriminator(lambda value: "flag" if isinstance(value, bool) else "secret"),
    ] = Field(False, description="Whether jobs get HF_TOKEN, from this shell or from a key vault.")


class RaySection(Section):
    """A Ray cluster, or what of it is used."""

    address: str = Field(
        description="HOST:PORT of the cluster's head; or `local`: Ray is started on this machine."
    )
    hosts: int | None = Field(
        None, ge=1, le=1000, description="How many hosts; by default all that have what is asked."
    )
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="What a host must have, as `ray start --resources` names it; GPU: a number."
    )
    cpus: Annotated[float, Field(gt=0)] | None = Field(
        None, description="CPUs that Ray reserves on each host; by default all of them."
    )
    slots: int = Field(1, ge=1, le=64, description="Builds at the same time on each host.")
    shared: str | None = Field(
        None,
        description="Absolute path of a folder that this machine and all hosts have: files go "
        "through it. By default they go from host to host.",
    )


class DeclaredTarget(Section):
    """A machine, or a cluster of them, that models are built or measured on."""

    ssh: str | None = Field(
        None, description="A host, as the system's ssh takes it (of ~/.ssh/config, or user@name)."
    )
    ray: RaySection | None = Field(None, description="A Ray cluster.")
    python: str | None = Field(
        None,
        description="Python interpreter there; with `ssh` by default python3, with `ray` that of "
        "Ray's workers. Without both, another one of this machine, with packages of its own.",
    )
    store: str | None = Field(
        None, description="Folder there for models and data; by default in the user's cache folder."
    )
    budget: Megabytes | None = Field(
        None,
        description="With `ssh` or `ray`: how much the folder there may hold, such as 20GB; what "
        "was used longest ago is removed. By default as much as the disk has room for.",
    )
    azureml: AzuremlSection | None = Field(
        None, description="A compute of Azure Machine Learning, in place of `ssh` and `python`."
    )

    @property
    def launcher(self) -> str:
        """Which launcher starts its workers."""
        if self.azureml is not None:
            return "azureml"
        if self.ray is not None:
            return "ray"
        return "python" if self.ssh is None else "ssh"

    @property
    def is_here(self) -> bool:
        """Whether it is another interpreter of this machine."""
        return self.launcher == "python"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of its launcher; of ``azureml``: `paretune.config.azureml_targets`."""
        given: dict[str, Any] = {"host": self.ssh, "python": self.python, "store": self.store}
        if self.budget is not None:
            given["budget"] = int(self.budget * 1e6)
        if self.ray is not None:
            given |= self.ray.model_dump()
        return {key: value for key, value in given.items() if value is not None}


def share(value: Any) -> Any:
    """Return ``0.5%`` or a number as a share."""
    if isinstance(value, str):
        found = _SHARE.fullmatch(value)
        if found is None:
            raise ValueError("expected a share such as 0.5% or 0.005")
        return _finite(float(found[1]) / (100 if found[2] else 1))
    return value


Share = Annotated[
    float, BeforeValidator(share, json_schema_input_type=float | str), Field(gt=0, lt=1)
]


class StopSection(Section):
    """When a search has gained enough."""

    gain_per_minute: Share = Field(
        description="The search ends when it gains less per minute: a share of the hypervolume of "
        "the feasible candidates, such as 0.5%."
    )
    after: int = Field(
        AFTER,
        ge=2,
        description="Trials beside the baseline before which it never ends; their gain is judged "
        "if the strategy does not say what it expects.",
    )


class SearchSection(Section):
    """How long to search, and how."""

    strategy: str = Field(
        "auto",
        description="chains, exhaustive, random, nsga2, tpe; auto: chains.",
    )
    trials: int | None = Field(
        None, ge=1, description="Maximum number of candidates that run, in the whole study."
    )
    time: Seconds | None = Field(None, description="Maximum time of the study: 90s, 10m, 2h.")
    seed: int = Field(0, description="Seed of a sampled search, which makes its order repeatable.")
    prefer: str | None = Field(
        None,
        description="Objective that decides first which candidate is best; default: the first one.",
    )
    job_time: Seconds = Field(
        3600.0, description="Maximum time of one job (a build, a measurement)."
    )
    job_memory: Megabytes | None = Field(
        None, description="Maximum memory of one job: 800MB, 8GB; by default most free memory."
    )
    finals: SecondsOrNone = Field(
        60.0,
        description="Maximum time at the end in which the finalists are measured again, "
        "interleaved; 0: none.",
    )
    share_measurements: bool = Field(
        True,
        description="Whether a build takes speed, load time and memory over from another one that "
        "differs in the values of its weights only. Finalists are always measured.",
    )
    parent_quality: bool = Field(
        True,
        description="Whether a trained model is measured in full precision before anything is "
        "built from it, where that pays, so that a hopeless training is not built.",
    )
    builds: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Maximum number of builds at the same time; none of them runs while a device "
        "on the same machine measures. Default: what the target allows, 1 on this machine.",
    )
    repeat_pick: int = Field(
        0,
        ge=0,
        le=100,
        description="How often the pick is built and measured again with other training seeds, "
        "after the search: the spread of its metrics is reported. 0: not at all.",
    )
    stop: StopSection | None = Field(
        None, description="When the search ends before its time, trials or space are used up."
    )
    from_: (
        Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
        | None
    ) = Field(
        None,
        alias="from",
        description="Folders of earlier studies, on other devices, models or data: priors of the "
        "forecasts, never results. Without this key a search that continues uses those of its "
        "last run; [] uses none.",
    )


class ConfigFile(Section):
    """A paretune configuration."""

    model: ModelSource = Field(
        description="The input model: a folder, an ONNX file, or one with `sizes` and `state`; a "
        "PyTorch `module` or a .pt2 file."
    )
    data: dict[str, DataSpec] = Field(
        {}, description="Data sets by name; `tone.train` refers to a split of `tone`."
    )
    passes: list[Any] = Field(
        [], description="Passes in order. A list of values is a choice; {low, high} is a range."
    )
    baseline: list[Any] | None = Field(
        None, description="Recipe that is measured first and that constraints may refer to."
    )
    try_first: list[Any] = Field([], description="Recipes known to be good, tried first.")
    evaluate: list[Any] = Field(min_length=1, description="Evaluators.")
    targets: dict[str, DeclaredTarget] = Field(
        {}, description="Devices by name that `target: {measure: NAME}` can name."
    )
    target: Target = Field(
        TargetSection(),
        description="Where models are built and measured, and with which settings; a list: one "
        "entry for each target, several of which may measure.",
    )
    runtimes: list[Any] = Field(
        [],
        description="Runtimes to try, with the values of their settings; by default each kind of "
        "model is run by its own, with the providers and threads of `target`.",
    )
    objectives: (
        dict[Literal["minimize", "maximize", "within"], Any]
        | list[dict[Literal["minimize", "maximize", "within"], Any]]
    ) = Field(min_length=1, description="Metrics to optimize, most important first.")
    constraints: list[str] = Field(
        [], description="Limits that a candidate must meet: `size_mb <= 300`."
    )
    search: SearchSection = SearchSection()
