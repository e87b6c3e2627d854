"""Small language models that newer families read prompts with, and their tokenizers: still one token a byte."""

from typing import Any

from xdit_runtime.tiny_models.parts import VOCABULARY

_END = "<|endoftext|>"
_QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_INSTRUCTIONS = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and ",
    (
        "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how the "
        "user's text instruction should alter or modify the image. Generate a new image that meets the user's requirements while "
        "maintaining consistency with the original i"
    ),
    "You are an AI that reasons about image descriptions. You give structured responses focusing on object relationships, ",
)
"""Of the pipelines to their language models, one token each: all but the end of what they tell Qwen-Image's, so that it is as
many tokens as the pipelines drop, 34 and 64.
"""
_PIXTRAL = (
    "<unk>",
    "<s>",
    "</s>",
    "<pad>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[IMG]",
    "[IMG_BREAK]",
    "[IMG_END]",
)
_PIXTRAL_CHAT = (
    "<s>{% for message in messages %}{% set side = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' %}"
    "[{{ side }}]{% for part in message.content %}{{ part.text if part.type == 'text' else '[IMG]' }}{% endfor %}[/{{ side }}]"
    "{% endfor %}"
)


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def qwen_tokenizer() -> Any:  # noqa: ANN401 - transformers is not typed
    """A Qwen2Tokenizer with the special tokens of Qwen2.5-VL and a chat template."""
    from transformers import Qwen2Tokenizer

    special = (_END, *_QWEN)
    made = Qwen2Tokenizer(vocab={token: index for index, token in enumerate([*special, *_alphabet()])}, merges=[])
    made.add_special_tokens({"additional_special_tokens": list(_QWEN)})
    made.add_tokens(list(_INSTRUCTIONS))
    made.chat_template = _CHAT
    return made


def qwen3(layers: int, *, causal: bool, width: int = 32) -> Any:  # noqa: ANN401
    """A Qwen3. causal: with the head that predicts tokens, as FLUX.2 klein has it."""
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    config = Qwen3Config(**_decoder(layers, width), head_dim=8, tie_word_embeddings=True)
    return (Qwen3ForCausalLM if causal else Qwen3Model)(config)


def qwen_vl(width: int = 32) -> Any:  # noqa: ANN401
    """A Qwen2.5-VL of two layers, with eyes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = qwen_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                **_decoder(2, width),
                "bos_token_id": None,
                "eos_token_id": 0,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            },
            vision_config={
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 37,
                "num_heads": 2,
                "out_hidden_size": width,
                "patch_size": 28,
                "window_size": 112,
                "fullatt_block_indexes": [1],
            },
            image_token_id=token("<|image_pad|>"),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
        )
    )


def qwen_processor() -> Any:  # noqa: ANN401
    """The processor of Qwen2.5-VL: pictures and text to tokens."""
    from transformers import Qwen2VLImageProcessor

    from xdit_runtime.engine.processors import QwenReader

    return QwenReader(image_processor=Qwen2VLImageProcessor(patch_size=28, merge_size=2), tokenizer=qwen_tokenizer())


def mistral(layers: int, width: int = 16) -> Any:  # noqa: ANN401
    """A Mistral 3 with eyes (which FLUX.2 does not use)."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    return Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config={"model_type": "mistral", **_decoder(layers, width), "head_dim": 4},
            vision_config={
                "model_type": "pixtral",
                "hidden_size": 16,
                "intermediate_size": 37,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "patch_size": 16,
                "image_size": 64,
            },
            image_token_index=_PIXTRAL.index("[IMG]"),
        )
    )


def pixtral_tokenizer() -> Any:  # noqa: ANN401
    """The tokenizer inside the PixtralProcessor of Mistral 3, which pads on the left."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate([*_PIXTRAL, *_alphabet()])}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(token, special=True) for token in _PIXTRAL])
    made.add_tokens(list(_INSTRUCTIONS))
    # the class that models of this family name; its real one needs torchvision to be made
    named = type("PixtralProcessor", (PreTrainedTokenizerFast,), {"__module__": "transformers.models.pixtral.processing_pixtral"})
    tokenizer = named(
        tokenizer_object=made,
        **{f"{role}_token": token for role, token in zip(("unk", "bos", "eos", "pad"), _PIXTRAL, strict=False)},
        padding_side="left",
    )
    tokenizer.chat_template = _PIXTRAL_CHAT
    return tokenizer


def _decoder(layers: int, width: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": 37,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    }
