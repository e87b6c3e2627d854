"""LoRAs that cannot be: each is a sentence that says what would work."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from xdit_api.spec import Lora
from xdit_runtime.engine.base import PlanError, PromptError, Request
from xdit_runtime.engine.loras import Loras


class Pipeline:
    """Takes every LoRA, and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self._names: list[str] = []

    def load_lora_weights(self, _directory: str, *, adapter_name: str, **_how: object) -> None:
        self._names.append(adapter_name)

    def get_list_adapters(self) -> dict[str, list[str]]:
        return {"transformer": self._names}

    def enable_lora(self) -> None:
        self.told.append("on")

    def disable_lora(self) -> None:
        self.told.append("off")

    def set_adapters(self, names: list[str], scales: list[float]) -> None:
        self.told.append((names, scales))


def request(loras: tuple[tuple[str, float], ...] | None) -> Request:
    return Request("a", 64, 64, 2, 1.0, 0, loras=loras)


def made(directory: Path) -> tuple[Pipeline, Loras]:
    (directory / "ink.safetensors").touch()
    pipeline = Pipeline()
    return pipeline, Loras(pipeline, "flux", directory, [Lora(name="ink", path="ink.safetensors", scale=0.5)])


def test_only_changes_are_told(tmp_path: Path) -> None:
    pipeline, loras = made(tmp_path)
    for chosen in (None, (("ink", 0.5),), (("ink", 0.7),), (), (), None):
        loras.use(request(chosen))
    assert pipeline.told == ["on", (["ink"], [0.5]), "on", (["ink"], [0.7]), "off", "on", (["ink"], [0.5])]


def test_a_name_that_the_job_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"no LoRA 'oil' in model.loras; it has ink"):
        made(tmp_path)[1].check(request((("oil", 1.0),)))
    with pytest.raises(PromptError, match=r"no LoRA 'oil' in model.loras; it has none"):
        Loras(Pipeline(), "flux", tmp_path, []).check(request((("oil", 1.0),)))


def test_a_family_without_loras(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"pixart models take no LoRAs; leave model\.loras out"):
        Loras(SimpleNamespace(), "pixart", tmp_path, [Lora(name="ink", path="ink.safetensors")])


@pytest.mark.parametrize(
    ("path", "wanted"), [("none.safetensors", "there is no file"), ("ink.bin", "is not a .safetensors file")]
)
def test_files_that_cannot_be(tmp_path: Path, path: str, wanted: str) -> None:
    (tmp_path / "ink.bin").touch()
    with pytest.raises(ValueError, match=f"LoRA 'ink': .*{wanted}"):
        Loras(Pipeline(), "flux", tmp_path, [Lora(name="ink", path=path)])
