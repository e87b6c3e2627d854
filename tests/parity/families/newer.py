"""Cases of the newer families: other names of arguments, sizes that no number of ranks divides, and pictures to change."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from PIL import Image

from tests.parity.families.table import Case
from xdit_runtime import tiny_models
from xdit_runtime.engine.base import Request


@cache
def _pictures() -> tuple[str, str]:
    """Two files: a wide one with soft colours and a tall one with squares."""
    directory = Path(mkdtemp(prefix="xdit-inputs-"))
    y, x = np.mgrid[0:300, 0:400]
    soft = np.stack([x * 255 // 400, y * 255 // 300, (x + y) % 256], -1)
    y, x = np.mgrid[0:512, 0:333]
    squares = np.stack([x // 32 % 2 * 200, y // 32 % 2 * 220, x * 0 + 30], -1)
    for name, levels in (("soft", soft), ("squares", squares)):
        Image.fromarray(levels.astype(np.uint8)).save(directory / f"{name}.png")
    return str(directory / "soft.png"), str(directory / "squares.png")


@dataclass(frozen=True)
class Newer(Case):
    """A family whose pipeline needs more than the usual arguments."""

    guidance: str = "guidance_scale"
    inputs: int = 0
    """The most input pictures; a family that only changes pictures always gets one."""
    edits: bool = False
    """Whether it only changes pictures."""

    def pipeline(self, model: Path) -> Any:
        return tiny_models.build(self.model)

    def requests(self) -> dict[str, Request]:
        soft, squares = _pictures()
        made = super().requests()
        made["short"] = replace(made["boat"], prompt="two cats")
        step = 64 if self.edits else 16
        # 15 or 35 tokens
        made["odd"] = replace(made["boat"], width=(3 if self.edits else 5) * step, height=(5 if self.edits else 7) * step)
        if self.edits:
            del made["wide"]
            made = {name: replace(request, steps=2, inputs=(soft,)) for name, request in made.items()}
        if self.inputs:
            made["changed"] = replace(made["boat"], inputs=(soft,))
            made["other"] = replace(made["boat"], inputs=(squares,))
        if self.inputs > 1:
            made["two"] = replace(made["boat"], inputs=(soft, squares))
        return made

    def plainly(self, request: Request) -> dict[str, Any]:
        made = super().plainly(request)
        made[self.guidance] = made.pop("guidance_scale")
        if self.guidance == "true_cfg_scale":
            made["negative_prompt"] = request.negative_prompt or " "
        if not self.negative:
            made.pop("negative_prompt", None)
        if request.inputs:
            pictures = [Image.open(path) for path in request.inputs]
            made["image"] = pictures if self.inputs > 1 else pictures[0]
        if self.model == "kontext":
            made["max_area"] = request.width * request.height
        return made

    def batch(self) -> tuple[str, ...]:
        """Pictures to change are drawn one at a time; texts of a batch are of unequal length."""
        return () if self.edits else ("letter", "seed", "short")


NEWER = {
    "kontext": Newer("kontext", negative=False, inputs=1),
    "flux2": Newer("flux2", negative=False, letter=1, inputs=2),
    "flux2-klein": Newer("flux2_klein", negative=False, inputs=2),
    "qwen-image": Newer("qwen_image", guidance="true_cfg_scale"),
    "qwen-edit": Newer("qwen_edit", side=320, letter=0.1, guidance="true_cfg_scale", inputs=1, edits=True, only="cfg"),
    "qwen-edit-plus": Newer("qwen_edit_plus", side=320, letter=0.1, guidance="true_cfg_scale", inputs=2, edits=True),
    "z-image": Newer("z_image"),
}
