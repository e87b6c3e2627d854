import torch

from xdit_runtime.engine.text import Embeddings, TextCache


def cache(limit: int) -> tuple[TextCache, list[str]]:
    asked: list[str] = []

    def encode(prompt: str) -> Embeddings:
        asked.append(prompt)
        generator = torch.Generator("cpu").manual_seed(len(prompt))
        return torch.randn(1, 4, 8, generator=generator).bfloat16(), torch.randn(1, 8, generator=generator).bfloat16()

    return TextCache(encode, torch.device("cpu"), limit), asked


def test_a_hit_is_bit_equal_and_encodes_nothing() -> None:
    texts, asked = cache(2)
    first, second = texts.get("cat"), texts.get("cat")
    assert asked == ["cat"]
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first, second, strict=True))


def test_the_least_recently_used_goes_first() -> None:
    texts, asked = cache(2)
    for prompt in ("a", "bb", "a", "ccc", "a", "bb"):
        texts.get(prompt)
    assert asked == ["a", "bb", "ccc", "bb"]
