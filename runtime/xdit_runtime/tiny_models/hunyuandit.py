"""A HunyuanDiT of a few MB: BERT and T5, skips from the first half of the layers to the second."""

from typing import Any

from xdit_runtime.tiny_models import parts


def _bert(width: int = 32) -> Any:  # noqa: ANN401 - transformers is not typed
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=parts.VOCABULARY,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=37,
        pad_token_id=1,
    )
    return BertModel(config)


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The HunyuanDiTPipeline. 4 heads; 8 layers."""
    from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline

    models = {
        "transformer": HunyuanDiT2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            hidden_size=32,
            num_layers=8,
            num_attention_heads=4,
            attention_head_dim=8,
            mlp_ratio=2.0,
            cross_attention_dim=32,
            cross_attention_dim_t5=32,
            pooled_projection_dim=16,
            text_len=77,
            text_len_t5=256,
            activation_fn="gelu-approximate",
            use_style_cond_and_image_meta_size=False,
        ),
        "text_encoder": _bert(),
        "text_encoder_2": parts.t5(),
        "vae": parts.vae(quantised=True, scaling_factor=0.13025),
    }
    return parts.assemble(
        HunyuanDiTPipeline,
        seed,
        parts.gains("proj_out.weight", ("text_embedder", "time_extra_emb.pooler"), quiet=0.05, loud=20.0),
        models,
        scheduler=DDPMScheduler(
            beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", prediction_type="v_prediction", steps_offset=1
        ),
        tokenizer=parts.tokenizer(77),
        tokenizer_2=parts.tokenizer(256),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
