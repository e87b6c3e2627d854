import torch

from xdit_runtime.engine.text import Embeddings, TextCache


class Encoder:
    def __init__(self, limit: int) -> None:
        self.asked: list[str] = []
        self.texts = TextCache(torch.device("cpu"), limit)

    def get(self, prompt: str) -> Embeddings:
        def encode() -> Embeddings:
            self.asked.append(prompt)
            generator = torch.Generator("cpu").manual_seed(len(prompt))
            return {
                "prompt_embeds": torch.randn(1, 4, 8, generator=generator).bfloat16(),
                "pooled": torch.randn(1, 8, generator=generator),
            }

        return self.texts.get(prompt, encode)


def test_a_hit_is_bit_equal_and_encodes_nothing() -> None:
    encoder = Encoder(2)
    first, second = encoder.get("cat"), encoder.get("cat")
    assert encoder.asked == ["cat"]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)


def test_the_least_recently_used_goes_first() -> None:
    encoder = Encoder(2)
    for prompt in ("a", "bb", "a", "ccc", "a", "bb"):
        encoder.get(prompt)
    assert encoder.asked == ["a", "bb", "ccc", "bb"]
