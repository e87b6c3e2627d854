"""Which family is run on which small model, in which modes, and with which requests. One line a family."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from xdit_api import catalogue
from xdit_api.job import Degrees
from xdit_runtime.engine.base import Request

RANKS = 4
WARM = "~sync"
"""Ends the name of a request that PipeFusion runs synchronously: exact, and no faster than one rank."""

PATCHES = {1: "-whole", 3: "-patches3"}
"""Ends the name of a mode with another number of patches than stages."""


@dataclass(frozen=True)
class Case:
    """A family on a small model."""

    model: str
    """xdit-dev/tiny-<model>."""
    side: int = 128
    """Pixels of a square picture that every mode can split."""
    negative: bool = True
    """Whether a negative prompt makes another picture."""
    letter: float = 2
    """Levels by which one letter of the prompt changes the picture, on average."""
    seed: float = 2
    """Levels by which another seed changes it."""
    only: str | None = None
    """Modes must have this degree: others of the family are tested elsewhere."""
    call: dict[str, Any] = field(default_factory=dict)
    """More arguments of diffusers' own call."""

    @property
    def facts(self) -> catalogue.ModelFacts:
        found = catalogue.lookup(f"xdit-dev/tiny-{self.model.replace('_', '-')}")
        assert found is not None
        return found

    def modes(self) -> dict[str, Degrees]:
        """Every legal product of degrees on 2 to 4 ranks, by name."""
        made = [
            Degrees(cfg=cfg, ulysses=ulysses, ring=ring, pipefusion=pipefusion)
            for cfg, ulysses, ring, pipefusion in product((1, 2), (1, 2, 4), (1, 2, 4), (1, 2, 4))
            if 1 < cfg * ulysses * ring * pipefusion <= RANKS
        ]
        # in one patch nothing is stale
        made += [Degrees(pipefusion=2, pipefusion_patches=1), Degrees(pipefusion=2, pipefusion_patches=3)]
        sizes = {(request.width, request.height) for request in self.requests().values()}
        return {
            degrees.describe().replace(" x ", "-").replace(" ", "") + PATCHES.get(degrees.pipefusion_patches or 0, ""): degrees
            for degrees in made
            if not catalogue.legal(self.facts, degrees, sizes) and (self.only is None or getattr(degrees, self.only) > 1)
        }

    def requests(self) -> dict[str, Request]:
        """Pictures by name. Sizes, steps and guidance change from one to the next."""
        side, text = self.side, "a small red boat on the sea"
        boat = Request(text, side, side, 3, 4.5, 7)
        return {
            "boat": boat,
            "letter": Request("a small red boat on the see", side, side, 3, 4.5, 7),
            "unguided": Request(text, side, side, 3, 1.0, 7),
            "wide": Request("two cats under a table", side * 2, side, 2, 7.0, 2**53 - 1),
            "seed": Request(text, side, side, 3, 4.5, 8),
            "negative": Request(text, side, side, 3, 4.5, 7, negative_prompt="rain"),
            "again": boat,
        }

    def plainly(self, request: Request) -> dict[str, Any]:
        """The request as arguments of diffusers' own pipeline."""
        import torch

        made = {
            "prompt": request.prompt,
            "height": request.height,
            "width": request.width,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance_scale,
            "generator": torch.Generator("cpu").manual_seed(request.seed),
            **self.call,
        }
        return made | ({"negative_prompt": request.negative_prompt} if request.negative_prompt else {})

    def pipeline(self, model: Path) -> Any:
        """diffusers' own pipeline."""
        from diffusers import DiffusionPipeline

        return DiffusionPipeline.from_pretrained(model)

    def batch(self) -> tuple[str, ...]:
        """Names of requests that are also drawn together."""
        return ("letter", "seed")


TABLE = {
    "flux": Case("flux", negative=False, only="pipefusion"),
    "sd3": Case("sd3"),
    "sd35": Case("sd35", only="ring"),
    "sdxl": Case("sdxl"),
    "pixart": Case("pixart", call={"use_resolution_binning": False, "clean_caption": False}),
    "pixart-alpha": Case("pixart_alpha", only="ulysses", call={"use_resolution_binning": False, "clean_caption": False}),
    "hunyuandit": Case("hunyuandit", call={"use_resolution_binning": False}),
    "sana": Case("sana", side=256, call={"use_resolution_binning": False}),
    "lumina2": Case("lumina2", letter=1),
}
