"""What pods will mount, looked at before any pod exists: claims and prompts in the API."""

from collections.abc import Iterable
from dataclasses import dataclass

from xdit_api import prompts
from xdit_api.job import PromptFormat
from xdit_api.prompts import Prompt
from xdit_api.spec import Spec
from xdit_operator.kube import CLAIM, CONFIG_MAP, Kube
from xdit_operator.plan import paths
from xdit_operator.problem import Problem

AGAIN = 15.0
"""Seconds between two looks at what is missing."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known of the inputs."""

    problem: Problem | None = None
    total: int | None = None
    """Images asked for; None for prompts on a volume."""
    sizes: frozenset[tuple[int, int]] = frozenset()
    """(width, height) in pixels of all images that are known."""


async def look(kube: Kube, namespace: str, spec: Spec) -> Inputs:
    """Reads claims and the prompts ConfigMap. Never raises for what a user can repair."""
    problem = await _claims(kube, namespace, spec)
    if problem is not None:
        return Inputs(problem)
    if spec.prompts.inline is not None:
        text = prompts.inline_jsonl(spec.prompts.inline)
        return check("spec.prompts.inline", "jsonl", text, spec, "the resource")
    if spec.prompts.config_map is None:
        return Inputs(sizes=frozenset([(spec.defaults.width, spec.defaults.height)]))
    name, key = spec.prompts.config_map.name, spec.prompts.config_map.key
    found = await kube.get(CONFIG_MAP, namespace, name)
    if found is None:
        return Inputs(missing("ConfigMap", name, namespace, "the prompts"))
    data = found.get("data") or {}
    if key not in data:
        return Inputs(_no_key(name, key, data, found.get("binaryData") or {}))
    return check(f"ConfigMap {name}, key {key}", paths.prompts_format(key), data[key], spec, "a ConfigMap")


def check(source: str, format: PromptFormat, text: str, spec: Spec, holder: str = "a ConfigMap") -> Inputs:
    """Prompts of a small file: all that are used, or every bad line with its number.

    holder: what the text is in, for the sentence that input images cannot be there.
    """
    no_images = f"{holder} holds no images: put the prompt file and its images on a claim and use spec.prompts.volume"
    setting = prompts.Setting(spec.defaults, {lora.name: lora.scale for lora in spec.model.loras}, no_images)
    good, bad = prompts.check(format, text, setting)
    if bad and (spec.prompts.policy == "Fail" or not good or any(p.fatal for p in bad)):
        return Inputs(Problem("InvalidPrompts", prompts.summary(source, bad), AGAIN))
    return Inputs(total=sum(p.images for p in good), sizes=_sizes(good))


def _sizes(good: Iterable[Prompt]) -> frozenset[tuple[int, int]]:
    return frozenset((p.width, p.height) for p in good)


async def _claims(kube: Kube, namespace: str, spec: Spec) -> Problem | None:
    wanted = {
        "the model": spec.model.source.pvc.claim_name if spec.model.source.pvc is not None else None,
        "the output": spec.output.claim_name,
        "the prompts": spec.prompts.volume.claim_name if spec.prompts.volume is not None else None,
    }
    for what, name in wanted.items():
        if name is None:
            continue
        found = await kube.get(CLAIM, namespace, name)
        if found is None:
            return missing("PersistentVolumeClaim", name, namespace, what)
        if "deletionTimestamp" in found["metadata"]:
            return Problem("MissingPVC", f'PersistentVolumeClaim "{name}" for {what} is being deleted', AGAIN)
    return None


def missing(kind: str, name: str, namespace: str, what: str) -> Problem:
    """An object that does not exist yet."""
    reason = "MissingConfigMap" if kind == "ConfigMap" else "MissingPVC"
    text = f'{kind} "{name}" for {what} does not exist in namespace {namespace}; it is looked at again every {AGAIN:.0f} s'
    return Problem(reason, text, AGAIN)


def _no_key(name: str, key: str, data: Iterable[str], binary: Iterable[str]) -> Problem:
    if key in binary:
        text = f'key "{key}" of ConfigMap "{name}" is not UTF-8 text'
    else:
        text = f'ConfigMap "{name}" has no key "{key}"; it has {", ".join(sorted(data)) or "none"}'
    return Problem("MissingConfigMap", f"{text}; it is looked at again every {AGAIN:.0f} s", AGAIN)
