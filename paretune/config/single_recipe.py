"""Refuses a configuration that describes more than one fixed recipe, for `paretune run`."""

from __future__ import annotations

from paretune.config.plan import Plan
from paretune.core.errors import ConfigError
from paretune.search.space import PassSlot


def refuse_several(plan: Plan) -> None:
    """Require that a plan has one candidate on each device.

    Raises:
        ConfigError: It has more.
    """
    for device in plan.devices:
        if device.space.size != 1:
            raise ConfigError(
                f"the configuration describes {device.space.size} candidates, expected one fixed "
                f"recipe{_what_varies(plan.for_device(device))}",
                file=str(plan.file),
                hint="Give every parameter one value, or use `paretune search`.",
            )


def _what_varies(plan: Plan) -> str:
    several = [
        f"{stage.name}.{name}"
        for stage in plan.space.stages
        if isinstance(stage, PassSlot)
        for name, values in stage.grid.items()
        if len(values) > 1
    ]
    several += [
        n for n, v in (("threads", plan.threads), ("providers", plan.providers)) if len(v) > 1
    ]
    several += [
        f"{choice.name}.{name}"
        for choice in plan.runtimes
        for name, values in choice.grid.items()
        if len(values) > 1 and name not in ("threads", "provider")
    ]
    return f": {', '.join(several)} have several values" if several else ""
