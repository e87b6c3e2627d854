"""FLUX.1 dev and schnell. Guidance is an input of the model: there is no unconditional half and no negative prompt."""

from collections.abc import Hashable, Sequence

import torch

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine.base import OnStep, Request, World
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.flux.courier import Collective, Direct, linked
from xdit_runtime.engine.options import plain
from xdit_runtime.engine.tuning import Tuning


def sequence_length(pipeline: Pipeline) -> int:
    """Text tokens that the model was made for: 512 for models with embedded guidance (dev), 256 without (schnell)."""
    return 512 if pipeline.transformer.config.guidance_embeds else 256


class Flux(Family):
    """FluxPipeline."""

    name = "flux"

    def transformer(self) -> type | None:
        """See Family."""
        from xdit_runtime.engine.flux.transformer import FastFluxTransformer

        return FastFluxTransformer

    def loaded(self, pipeline: Pipeline, job: Job) -> None:
        """See Family."""
        from xfuser.core.distributed import get_sp_group

        if plain(job):
            return
        group, device = get_sp_group().device_group, pipeline.transformer.device
        pipeline.transformer.fuse(Direct(group, device) if job.pods == 1 and linked(device, group.size()) else Collective(group))

    def alone_splits(self, tuning: Tuning, world: World) -> bool:
        """Compiled, it takes 3.60 s where diffusers' takes 3.73 (one H200); eagerly, diffusers' is the yardstick for all others."""
        return world.device == "cuda" and bool(tuning.compiled)

    def compile(self, pipeline: Pipeline) -> bool:
        """See Family."""
        from xdit_runtime.engine.flux.transformer import Kernels

        if not pipeline.transformer.fused:
            return False
        pipeline.transformer.kernels = Kernels.compiled()
        return True

    def capture(self, pipeline: Pipeline, wanted: bool) -> None:
        """See Family."""
        pipeline.transformer.captures = wanted

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """xfuser's attention asks its runtime state for the length of the text."""
        from xfuser.core.distributed import get_runtime_state

        get_runtime_state().set_input_parameters(
            batch_size=len(requests),
            num_inference_steps=requests[0].steps,
            max_condition_sequence_length=sequence_length(pipeline),
            split_text_embed_in_sp=True,
        )
        # a picture that is redrawn goes through some of the steps only
        pipeline.transformer.begin(None if requests[0].inputs else pipeline.scheduler)

    def text_key(self, request: Request) -> Hashable:
        """A negative prompt has no effect."""
        return request.prompt

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """T5's sequence and CLIP's pooled vector."""
        text, pooled, _ids = pipeline.encode_prompt(
            prompt=request.prompt, prompt_2=None, device=device, max_sequence_length=sequence_length(pipeline)
        )
        return {"prompt_embeds": text, "pooled_prompt_embeds": pooled}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family."""
        return super().arguments(pipeline, requests, on_step) | {"max_sequence_length": sequence_length(pipeline)}
