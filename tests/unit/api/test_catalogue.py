"""Which degrees a model takes."""

import json
from importlib.resources import files

import pytest

from xdit_api.base import Json
from xdit_api.catalogue import FAMILIES, PIPELINES, ModelFacts, from_configs, legal, lookup
from xdit_api.job import Degrees

FLUX = ModelFacts("flux", 24, 57)
SD3 = ModelFacts("sd3", 38, 38)
SDXL = ModelFacts("sdxl", 1)
HUNYUAN = ModelFacts("hunyuandit", 16, 40)
SANA = ModelFacts("sana", 70, 20)
LUMINA = ModelFacts("lumina2", 24, 26, kv_heads=8)
SQUARE = (1024, 1024)


@pytest.mark.parametrize(
    ("facts", "degrees"),
    [
        (FLUX, Degrees(ulysses=4)),
        (FLUX, Degrees(ulysses=2, ring=2)),
        (FLUX, Degrees(ulysses=2, pipefusion=4)),
        (SD3, Degrees(pipefusion=2)),
        (SD3, Degrees(cfg=2, ulysses=2, ring=2, pipefusion=2)),
        (SDXL, Degrees(cfg=2)),
        (HUNYUAN, Degrees(cfg=2, pipefusion=4)),
        (SANA, Degrees(cfg=2, ulysses=2, ring=4)),
        (LUMINA, Degrees(cfg=2, ulysses=8)),
        (ModelFacts("pixart", 16, 28, scheduler="DPMSolverMultistepScheduler"), Degrees(cfg=2, pipefusion=4)),
        # more warm-up than steps is exact and no faster: nothing to refuse
        (FLUX, Degrees(pipefusion=2, warmup_steps=100)),
    ],
)
def test_legal_products(facts: ModelFacts, degrees: Degrees) -> None:
    assert legal(facts, degrees, [SQUARE]) == []


@pytest.mark.parametrize(
    ("facts", "degrees", "size", "says"),
    [
        (
            FLUX,
            Degrees(ulysses=5),
            (1024, 1200),
            "ulysses 5 does not divide the 24 attention heads; use one of 1, 2, 3, 4, 6, 8, 12, 24, and ring for the rest",
        ),
        (
            SD3,
            Degrees(ulysses=4),
            SQUARE,
            "ulysses 4 does not divide the 38 attention heads; use one of 1, 2, 19, 38, and ring for the rest",
        ),
        (
            LUMINA,
            Degrees(ulysses=12),
            (1024, 192),
            "ulysses 12 does not divide the 8 heads of keys and values; use one of 1, 2, 4, 8",
        ),
        (
            FLUX,
            Degrees(ulysses=2, ring=4),
            (512, 720),
            "height 720 (512x720) cannot be split over 8 ranks (ulysses 2 x ring 4): it must be a multiple of 128, "
            "for example 768",
        ),
        (
            FLUX,
            Degrees(cfg=2),
            SQUARE,
            "cfg 2 is not available for flux models (their guidance is an input of the model, there is no second half); "
            "set cfg to 1 and use ulysses or ring or pipefusion or more replicas",
        ),
        (
            SDXL,
            Degrees(ring=2),
            SQUARE,
            "ring 2 is not available for sdxl models (a UNet is split in the two halves of guidance only); "
            "set ring to 1 and use cfg or more replicas",
        ),
        (
            LUMINA,
            Degrees(ring=2),
            SQUARE,
            "ring 2 is not available for lumina2 models (text of any length is in one sequence with the picture); "
            "set ring to 1 and use cfg or ulysses or more replicas",
        ),
        (SD3, Degrees(cfg=3), SQUARE, "cfg 3 is not possible: guidance has two halves; use cfg 2"),
        (
            ModelFacts("pixart", 4, 4),
            Degrees(pipefusion=3),
            SQUARE,
            "pipefusion 3 cannot share the 4 layers out: it takes stages that all have a layer; use pipefusion 2 or 4",
        ),
        (
            HUNYUAN,
            Degrees(pipefusion=3),
            SQUARE,
            "pipefusion 3 cannot share the 40 layers out: it takes an even number of equal stages; "
            "use pipefusion 2 or 4 or 8 or 10",
        ),
        (
            ModelFacts("sd3", 4, 1),
            Degrees(pipefusion=2),
            SQUARE,
            "pipefusion 2 cannot share the 1 layers out: it takes stages that all have a layer; set pipefusion to 1",
        ),
        (
            FLUX,
            Degrees(pipefusion=2, warmup_steps=0),
            SQUARE,
            "PipeFusion needs at least one synchronous step, else it starts from the previous picture; use warmupSteps 1",
        ),
        (
            FLUX,
            Degrees(pipefusion=4, pipefusion_patches=16),
            SQUARE,
            "pipefusionPatches 16 is not from 1 to 8; use 4",
        ),
        (
            ModelFacts("pixart", 16, 28, scheduler="LCMScheduler"),
            Degrees(pipefusion=2),
            SQUARE,
            "pipefusion cannot use the model's LCMScheduler; it can use DDIMScheduler, DDPMScheduler, "
            "DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler; or set pipefusion to 1",
        ),
        (
            ModelFacts("pixart", 16, 28, scheduler="DPMSolverSDEScheduler"),
            Degrees(ulysses=2),
            SQUARE,
            "ranks cannot share the noise of the model's DPMSolverSDEScheduler; set ulysses and ring to 1 and use more replicas",
        ),
        (
            SANA,
            Degrees(),
            (1040, 1024),
            "width 1040 (1040x1024) must be a multiple of 32 for sana models, for example 1024",
        ),
        (
            SANA,
            Degrees(ulysses=2),
            (1024, 720),
            "height 720 (1024x720) must be a multiple of 32 for sana models, for example 704",
        ),
    ],
)
def test_legal_says_what_would_work(facts: ModelFacts, degrees: Degrees, size: tuple[int, int], says: str) -> None:
    assert legal(facts, degrees, [size, size]) == [says]


def test_every_reason_is_told_at_once() -> None:
    reasons = legal(SDXL, Degrees(ulysses=2, pipefusion=2), [(1000, 1016)])
    assert [reason.split()[0] for reason in reasons] == ["ulysses", "pipefusion", "width", "height"]


def test_known_models_are_found_and_unknown_ones_are_not_guessed() -> None:
    assert lookup("black-forest-labs/FLUX.1-dev") == FLUX
    assert lookup("somebody/something") is None


def test_all_catalogued_models_belong_to_a_family() -> None:
    models = json.loads(files("xdit_api.catalogue").joinpath("models.json").read_text())
    for name in models:
        facts = lookup(name)
        assert facts is not None
        assert legal(facts, Degrees(), [SQUARE]) == []
    assert {entry["family"] for entry in models.values()} == set(FAMILIES) == set(PIPELINES.values())


@pytest.mark.parametrize(
    ("index", "config", "facts"),
    [
        (
            {"_class_name": "FluxPipeline", "transformer": ["diffusers", "x"]},
            {"num_attention_heads": 4, "num_layers": 4, "num_single_layers": 5},
            ModelFacts("flux", 4, 9),
        ),
        (
            {
                "_class_name": "Lumina2Pipeline",
                "transformer": ["diffusers", "x"],
                "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            },
            {"num_attention_heads": 24, "num_kv_heads": 8, "num_layers": 26},
            ModelFacts("lumina2", 24, 26, 8, "FlowMatchEulerDiscreteScheduler"),
        ),
        (
            {
                "_class_name": "StableDiffusionXLPipeline",
                "unet": ["diffusers", "x"],
                "scheduler": ["diffusers", "EulerDiscreteScheduler"],
            },
            {"attention_head_dim": [5, 10, 20]},
            ModelFacts("sdxl", 1, scheduler="EulerDiscreteScheduler"),
        ),
    ],
)
def test_facts_come_from_the_model_directory(index: Json, config: Json, facts: ModelFacts) -> None:
    assert from_configs(index, config) == facts


def test_models_that_cannot_be_run_are_named() -> None:
    refused = from_configs({"_class_name": "KolorsPipeline"}, {})
    assert isinstance(refused, str)
    assert refused.startswith("model_index.json names the pipeline 'KolorsPipeline', which this version cannot run; it runs ")
    assert "FluxPipeline" in refused
    assert from_configs({"_class_name": "FluxPipeline"}, {}) == "transformer/config.json has no num_attention_heads"
