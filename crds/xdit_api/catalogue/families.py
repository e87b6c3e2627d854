"""What is common to all models of a family: how it can be split, and which sizes it draws. Data only."""

from dataclasses import dataclass

SEQUENCE = ("ulysses", "ring")


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """One family."""

    modes: tuple[str, ...]
    """Degrees of xdit_api.job.Degrees that may be more than 1."""
    pixels: int = 16
    """Width and height are multiples of it: the side of one token."""
    padded: bool = False
    """Whether any number of tokens can be split over any number of ranks."""
    fills_heads: bool = False
    """Whether Ulysses works with any number of attention heads."""
    why: str = ""
    """Why other modes are missing, when there is more to say than that xfuser does not have them."""


_DISTILLED = "their guidance is an input of the model, there is no second half"

FAMILIES = {
    "flux": FamilyFacts((*SEQUENCE, "pipefusion"), why=_DISTILLED),
    "sd3": FamilyFacts(("cfg", *SEQUENCE, "pipefusion")),
    "sdxl": FamilyFacts(("cfg",), why="a UNet is split in the two halves of guidance only"),
    "pixart": FamilyFacts(("cfg", *SEQUENCE, "pipefusion")),
    "hunyuandit": FamilyFacts(("cfg", *SEQUENCE, "pipefusion")),
    "sana": FamilyFacts(("cfg", *SEQUENCE, "pipefusion"), pixels=32),
    "lumina2": FamilyFacts(("cfg", "ulysses"), why="text of any length is in one sequence with the picture"),
    "kontext": FamilyFacts(SEQUENCE, padded=True, why=_DISTILLED),
    "flux2": FamilyFacts(SEQUENCE, padded=True, why=_DISTILLED),
    "flux2_klein": FamilyFacts(("cfg", *SEQUENCE), padded=True),
    "qwen_image": FamilyFacts(("cfg", *SEQUENCE), padded=True),
    "qwen_edit": FamilyFacts(("cfg", *SEQUENCE), padded=True),
    "qwen_edit_plus": FamilyFacts(("cfg", *SEQUENCE), padded=True),
    "z_image": FamilyFacts(("cfg", *SEQUENCE), padded=True, fills_heads=True),
}

PIPELINES = {
    "FluxPipeline": "flux",
    "StableDiffusion3Pipeline": "sd3",
    "StableDiffusionXLPipeline": "sdxl",
    "PixArtAlphaPipeline": "pixart",
    "PixArtSigmaPipeline": "pixart",
    "HunyuanDiTPipeline": "hunyuandit",
    "SanaPipeline": "sana",
    "Lumina2Pipeline": "lumina2",
    "FluxKontextPipeline": "kontext",
    "Flux2Pipeline": "flux2",
    "Flux2KleinPipeline": "flux2_klein",
    "QwenImagePipeline": "qwen_image",
    "QwenImageEditPipeline": "qwen_edit",
    "QwenImageEditPlusPipeline": "qwen_edit_plus",
    "ZImagePipeline": "z_image",
}
"""diffusers pipeline class → family that this version's engines can run."""

PATCHED_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
)
"""Those that xfuser can step patch by patch, which PipeFusion needs."""
UNSHARED_SCHEDULERS = ("DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler")
"""Those with noise of their own, which ranks cannot draw in parts."""
