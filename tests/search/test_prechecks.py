from paretune.models import ModelInfo, ModelKind
from paretune.registry import find_pass
from paretune.search.candidate import Candidate, Step
from paretune.search.prechecks import Prechecks
from paretune.targets.base import TargetInfo

MODEL = ModelInfo(ModelKind.HF, bytes=10**9)
ROOMY = TargetInfo("t", memory_free=10**10, disk_free=10**10)


def look(*steps: Step, target: TargetInfo = ROOMY, model: ModelInfo = MODEL) -> str | None:
    return Prechecks(model, target, find_pass).look(Candidate(steps)).reason


def test_what_fits_has_estimates() -> None:
    seen = Prechecks(MODEL, ROOMY, find_pass).look(Candidate((Step("noop", {"x": 1}),)))
    assert seen.reason is None
    assert seen.estimates[0].bytes_out == 10**9
    assert seen.final == MODEL


def test_a_pass_says_why_it_cannot() -> None:
    assert look(Step("noop"), Step("noop", {"x": 99})) == "pass 2 (noop): x may not be 99"


def test_a_wrong_kind_of_model_is_named() -> None:
    why = look(Step("noop"), model=ModelInfo(ModelKind.GENAI))
    assert why == "pass 1 (noop): takes a model of kind hf, is given genai"


def test_a_parameter_that_does_not_validate_is_named() -> None:
    assert "x" in str(look(Step("noop", {"x": "many"})))


def test_what_does_not_fit_says_both_numbers() -> None:
    assert look(Step("noop"), target=TargetInfo("t", disk_free=10**8)) == (
        "pass 1 (noop): writes about 1.0 GB; 0.1 GB of disk is free"
    )
    assert "needs about" in str(look(Step("noop"), target=TargetInfo("t", memory_free=1000)))
