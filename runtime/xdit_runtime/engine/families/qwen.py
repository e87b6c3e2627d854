"""Qwen-Image, which draws, and Qwen-Image-Edit, which changes pictures. Guidance follows the negative prompt."""

from collections.abc import Hashable, Sequence

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees
from xdit_runtime.engine import inputs
from xdit_runtime.engine.base import OnStep, PromptError, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.turns import Turns

_NOTHING = " "
"""A negative prompt for prompts that have none: without words there would be no guidance. As its authors do."""


class QwenImage(Family):
    """QwenImagePipeline."""

    name = "qwen_image"
    guidance = "true_cfg_scale"

    def transformer(self) -> type | None:
        """See Family."""
        from xdit_runtime.engine.families.qwen_transformer import SplitQwenTransformer

        kind: type = SplitQwenTransformer
        return kind

    def wrapped(self, degrees: Degrees) -> bool:
        """xfuser has no such pipeline for it."""
        return False

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """See Family."""
        from xfuser.core.distributed import get_classifier_free_guidance_world_size

        if self.uses_guidance(requests[0]) and get_classifier_free_guidance_world_size() == 2:
            text = (arguments["negative_prompt_embeds"], arguments.get("negative_prompt_embeds_mask"))
            pipeline.transformer.turns = Turns({"text": text})
        else:
            pipeline.transformer.turns = None

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """1 x tokens x width for the prompt, and for the negative prompt when there is guidance."""
        made = {"prompt_embeds": self._text(pipeline, request, request.prompt, device)}
        if self.uses_guidance(request):
            made["negative_prompt_embeds"] = self._text(pipeline, request, request.negative_prompt or _NOTHING, device)
        return made

    def join(self, embeddings: Sequence[Embeddings]) -> Embeddings:
        """Texts of unequal length are filled up; masks say with what not."""
        if len(embeddings) == 1:
            return embeddings[0]
        joined = {}
        for name in embeddings[0]:
            texts = [one[name][0] for one in embeddings]
            joined[name] = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
            lengths = torch.tensor([len(text) for text in texts], device=texts[0].device)
            if (lengths != lengths[0]).any():
                joined[f"{name}_mask"] = (torch.arange(joined[name].shape[1], device=lengths.device) < lengths[:, None]).long()
        return joined

    def _text(self, pipeline: Pipeline, request: Request, text: str, device: torch.device) -> torch.Tensor:
        made: torch.Tensor = pipeline.encode_prompt(prompt=text, device=device)[0]
        return made


class QwenEdit(QwenImage):
    """QwenImageEditPipeline: one picture in, one picture out."""

    name = "qwen_edit"
    edits = True
    inputs = 1
    """The most that it looks at."""

    def check(self, pipeline: Pipeline, request: Request) -> None:
        """See Family."""
        super().check(pipeline, request)
        if not 1 <= len(request.inputs) <= self.inputs:
            wanted = "one picture" if self.inputs == 1 else f"1 to {self.inputs} pictures"
            raise PromptError(f"this Qwen-Image-Edit model changes {wanted}, and 'image' names {len(request.inputs) or 'none'}")

    def text_key(self, request: Request) -> Hashable:
        """The language model sees the pictures, too."""
        return (super().text_key(request), request.inputs)

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family."""
        return super().arguments(pipeline, requests, on_step) | {"image": self._pictures(requests[0])}

    def _pictures(self, request: Request) -> object:
        return inputs.read(request.inputs[0])

    def _text(self, pipeline: Pipeline, request: Request, text: str, device: torch.device) -> torch.Tensor:
        """The pipeline's own way, which shows the language model the picture at one megapixel."""
        from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_dimensions

        image = inputs.read(request.inputs[0])
        width, height, _ = calculate_dimensions(1024 * 1024, image.width / image.height)
        shown = pipeline.image_processor.resize(image, height, width)
        made: torch.Tensor = pipeline.encode_prompt(image=shown, prompt=text, device=device)[0]
        return made


class QwenEditPlus(QwenEdit):
    """QwenImageEditPlusPipeline (2509, 2511): several pictures in, one picture out."""

    name = "qwen_edit_plus"
    inputs = 3

    def _pictures(self, request: Request) -> object:
        return [inputs.read(path) for path in request.inputs]

    def _text(self, pipeline: Pipeline, request: Request, text: str, device: torch.device) -> torch.Tensor:
        """The pipeline's own way, which shows the language model small pictures."""
        from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE, calculate_dimensions

        shown = []
        for image in (inputs.read(path) for path in request.inputs):
            width, height = calculate_dimensions(CONDITION_IMAGE_SIZE, image.width / image.height)
            shown.append(pipeline.image_processor.resize(image, height, width))
        made: torch.Tensor = pipeline.encode_prompt(image=shown, prompt=text, device=device)[0]
        return made
