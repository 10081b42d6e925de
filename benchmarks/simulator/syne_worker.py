"""Runs in a Python with Syne Tune: suggests configurations, and receives their values.

It imports nothing of paretune. Each line of the input is a JSON object, answered by one line.
"""

import json
import logging
import sys
import time
import warnings
from typing import Any


def make(told: dict[str, Any]) -> Any:
    """Return the scheduler."""
    import numpy as np
    from syne_tune.config_space import choice, randint
    from syne_tune.optimizer.baselines import EHVI
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    np.random.seed(told["seed"])
    space = {
        name: randint(0, len(each["labels"]) - 1) if each["ordered"] else choice(each["labels"])
        for name, each in told["choices"].items()
    }
    if told["scheduler"] == "moasha":
        return MOASHA(
            space,
            metrics=told["metrics"],
            time_attr="rung",
            max_t=told["rungs"],
            grace_period=1,
            random_seed=told["seed"],
            **told["settings"],
        )
    return EHVI(space, metrics=told["metrics"], random_seed=told["seed"], **told["settings"])


def main() -> None:
    """Answer until the input ends."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    import random

    import torch
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.scheduler import SchedulerDecision

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # its EHVI mixes both widths, which BoTorch 0.18 refuses
    told = json.loads(sys.stdin.readline())
    random.seed(told["seed"])
    start = time.process_time()
    scheduler = make(told)
    print("true", file=answers, flush=True)
    trial, result, number, stopped = None, None, 0, False
    for line in sys.stdin:
        message = json.loads(line)
        answer: Any = True
        if message["do"] in ("suggest", "instead"):
            if message["do"] == "suggest":
                config = scheduler.suggest().config
                number += 1
            else:
                config = {name: each.sample() for name, each in scheduler.config_space.items()}
                if told["scheduler"] == "ehvi":
                    scheduler.searcher.trial_configs[number - 1] = config
                else:
                    scheduler.on_trial_remove(trial)
            trial, result, stopped = Trial(number - 1, config, None), None, False
            scheduler.on_trial_add(trial)
            answer = {
                name: int(value)
                if told["choices"][name]["ordered"]
                else told["choices"][name]["labels"].index(value)
                for name, value in config.items()
            }
        elif message["do"] == "report":
            values = dict(zip(told["metrics"], message["values"], strict=True))
            result = {**values, "rung": message["rung"]}
            decision = scheduler.on_trial_result(trial, result)
            stopped = decision != SchedulerDecision.CONTINUE
            answer = not stopped
        elif message["do"] == "end":
            if result is None:
                scheduler.on_trial_error(trial)
            elif stopped:
                scheduler.on_trial_remove(trial)
            else:
                scheduler.on_trial_complete(trial, result)
        else:
            answer = time.process_time() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
