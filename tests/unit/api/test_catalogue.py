"""Which degrees a model takes."""

import pytest

from xdit_api.catalogue import ModelFacts, from_configs, legal, lookup
from xdit_api.job import Degrees

FLUX = ModelFacts("flux", 24, ("ulysses", "ring"))


@pytest.mark.parametrize(
    ("degrees", "size", "says"),
    [
        (Degrees(ulysses=4), (1024, 1024), []),
        (Degrees(ulysses=2, ring=2), (1024, 1024), []),
        (
            Degrees(ulysses=5),
            (1024, 1200),
            ["ulysses 5 does not divide the 24 attention heads; use one of 1, 2, 3, 4, 6, 8, 12, 24, and ring for the rest"],
        ),
        (
            Degrees(ulysses=2, ring=4),
            (512, 720),
            [
                "height 720 (512x720) cannot be split over 8 ranks (ulysses 2 x ring 4): it must be a multiple of 128, "
                "for example 768"
            ],
        ),
        (
            Degrees(cfg=2),
            (1024, 1024),
            ["cfg 2 is not available for flux models in this version; set cfg to 1 and use ulysses or ring or more replicas"],
        ),
    ],
)
def test_legal_says_what_would_work(degrees: Degrees, size: tuple[int, int], says: list[str]) -> None:
    assert legal(FLUX, degrees, [size, size]) == says


def test_known_models_are_found_and_unknown_ones_are_not_guessed() -> None:
    assert lookup("black-forest-labs/FLUX.1-dev") == FLUX
    assert lookup("somebody/something") is None


def test_facts_come_from_the_model_directory() -> None:
    assert from_configs({"_class_name": "FluxPipeline"}, {"num_attention_heads": 4}) == ModelFacts("flux", 4, ("ulysses", "ring"))
    assert from_configs({"_class_name": "KolorsPipeline"}, {}) == (
        "model_index.json names the pipeline 'KolorsPipeline', which this version cannot run; it runs FluxPipeline"
    )
    assert from_configs({"_class_name": "FluxPipeline"}, {}) == "transformer/config.json has no num_attention_heads"
