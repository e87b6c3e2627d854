"""What preflight refuses, with which code and which words."""

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.jobs import make_job, make_model, safetensors
from xdit_api.job import Job
from xdit_api.report import Counts, Exit
from xdit_runtime import gpus, modeldir, preflight, probe, space
from xdit_runtime.ending import RefusedError
from xdit_runtime.paths import Layout


def check(job: Job) -> preflight.Ready:
    return preflight.run(job, lambda _line: None, lambda _layout: None)


def refused(job: Job) -> tuple[Exit, str]:
    with pytest.raises(RefusedError) as caught:
        check(job)
    return caught.value.ending.exit, caught.value.ending.message


def test_a_good_job_passes_and_is_counted(tmp_path: Path) -> None:
    ready = check(make_job(tmp_path, [{"id": "a", "prompt": "x", "images": 3}]))
    assert ready.counts == Counts(total=3)
    assert not ready.drained


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Invalid JSON"),
        ("{}", "uid: Field required"),
        (None, "No such file"),
        ('{"apiVersion": "xdit.dev/v9"}', "this worker for xdit.dev/v1alpha1"),
        ('{"gpus": 3}', "1 lanes of 1 ranks do not fit 3 GPUs in pods of 1"),
        ('{"gpus": 2, "degrees": {"lanes": 2}}', "2 lanes of 1 ranks do not fit 2 GPUs in pods of 1"),
    ],
)
def test_job_files(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "job.json"
    if text is not None:
        whole = make_job(tmp_path).model_dump(mode="json", by_alias=True)
        path.write_text(json.dumps({**whole, **json.loads(text)}) if len(text) > 2 else text)
    with pytest.raises(RefusedError) as caught:
        preflight.read_job(path)
    assert caught.value.ending.exit == Exit.INVALID_JOB
    assert words in caught.value.ending.message


def damage_shard(model: Path) -> None:
    path = model / "transformer/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def drop_shard(model: Path) -> None:
    index = {"weight_map": {"a": "x-00001-of-00002.safetensors", "b": "x-00002-of-00002.safetensors"}}
    (model / "vae/x.safetensors.index.json").write_text(json.dumps(index))
    safetensors(model / "vae/x-00001-of-00002.safetensors")


def only_variant(model: Path) -> None:
    path = model / "vae/diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))


def shards_without_index(model: Path) -> None:
    path = model / "transformer/diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))


def no_backbone(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    del index["transformer"]
    (model / "model_index.json").write_text(json.dumps(index))


MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (shutil.rmtree, "does not exist; expected a diffusers directory"),
    "no index": (lambda m: (m / "model_index.json").unlink(), "model_index.json is missing; expected a diffusers directory"),
    "no part": (lambda m: shutil.rmtree(m / "vae"), "vae is missing, but model_index.json names it (AutoencoderKL)"),
    "empty tokenizer": (lambda m: (m / "tokenizer/tokenizer.json").unlink(), "tokenizer (CLIPTokenizer) is empty"),
    "no weights": (lambda m: (m / "vae/diffusion_pytorch_model.safetensors").unlink(), "has no .safetensors file"),
    "cut short": (damage_shard, "has 133 bytes, its header says 134: download it again"),
    "a pointer file": (
        lambda m: (m / "vae/diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is not a whole .safetensors file (43 bytes)",
    ),
    "not all shards": (drop_shard, "1 of 2 weight files are missing: x-00002-of-00002.safetensors"),
    "pickles": (lambda m: (m / "vae/pytorch_model.bin").touch(), "can run code when they are loaded: vae/pytorch_model.bin"),
    "code": (lambda m: (m / "transformer/model.py").touch(), "can run code when they are loaded: transformer/model.py"),
    "only a variant": (only_variant, "vae (AutoencoderKL) has weights of the variant 'fp16' only"),
    "shards without an index": (shards_without_index, "but no .safetensors.index.json that names them"),
    "no backbone": (no_backbone, "has no part 'transformer' or 'unet'"),
    "not JSON": (lambda m: (m / "vae/config.json").write_text("{"), "vae/config.json is not JSON"),
}


@pytest.mark.parametrize("name", MODELS)
def test_model_directories(tmp_path: Path, name: str) -> None:
    job = make_job(tmp_path)
    damage, words = MODELS[name]
    damage(Path(job.model.path))
    code, message = refused(job)
    assert code == Exit.INVALID_MODEL
    assert words in message


def test_a_variant_beside_the_plain_weights_does_no_harm(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    safetensors(model / "vae/diffusion_pytorch_model.fp16.safetensors")
    modeldir.check(model)


def test_a_model_with_a_unet(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "transformer").rename(model / "unet")
    index = json.loads((model / "model_index.json").read_text().replace('"transformer"', '"unet"'))
    (model / "model_index.json").write_text(json.dumps(index))
    assert modeldir.check(model)[1] == {"num_attention_heads": 4}


@pytest.mark.parametrize(("free", "refused", "warned"), [(None, False, False), (0, True, False), (2400, True, False),
                                                         (2500, False, True), (24_576, False, False)])  # fmt: skip
def test_room_for_the_images_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None, refused: bool, warned: bool
) -> None:
    """Three images of 64 x 64 at two bytes a pixel."""
    monkeypatch.setattr(space, "free", lambda _path: free)
    said: list[str] = []
    job = make_job(tmp_path, 3)
    if refused:
        with pytest.raises(RefusedError) as caught:
            preflight.run(job, said.append, lambda _layout: None)
        assert caught.value.ending.exit == Exit.OUTPUT_VOLUME
        assert "need about 24 KiB" in caught.value.ending.message
    else:
        preflight.run(job, said.append, lambda _layout: None)
    assert bool(said) == warned


def test_free_room_is_what_the_volume_says(tmp_path: Path) -> None:
    free = space.free(tmp_path)
    assert free is not None
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_a_real_model_of_many_parts_is_whole(tmp_path: Path) -> None:
    index, transformer = modeldir.check(make_model(tmp_path / "m"))
    assert (index["_class_name"], transformer["num_attention_heads"]) == ("FluxPipeline", 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"gpus": 3, "gpusPerPod": 3, "degrees": {"ulysses": 3}},
            "ulysses 3 does not divide the 4 attention heads; use one of 1, 2, 4",
        ),
        ({"gpus": 2, "gpusPerPod": 2, "degrees": {"ring": 2}, "defaults": {"height": 80}}, "height 80 (64x80) cannot be split"),
        ({"engine": {"quantization": "FP8"}}, "engine.quantization FP8 needs GPUs"),
        ({"gpus": 2, "gpusPerPod": 2, "degrees": {"cfg": 2}}, "cfg 2 is not available for flux models"),
    ],
)
def test_plans(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    code, message = refused(make_job(tmp_path, **changes))
    assert code == Exit.INVALID_PLAN
    assert words in message


def test_a_size_that_cannot_be_split_names_its_line(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3, gpus=2, gpusPerPod=2, degrees={"ulysses": 2})
    path = Path(job.prompts.path)
    path.write_text(path.read_text() + '{"prompt": "tall", "height": 80}\n{"prompt": "taller", "height": 80}\n')
    code, message = refused(job)
    assert code == Exit.INVALID_PLAN
    assert f"{path}: line 4: height 80" in message
    assert "multiple of 32" in message


def test_under_policy_skip_it_is_said_and_left_to_the_prompts(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3, gpus=2, gpusPerPod=2, degrees={"ulysses": 2})
    path = Path(job.prompts.path)
    path.write_text(path.read_text() + '{"prompt": "tall", "height": 80}\n{"prompt": 7}\n')
    said: list[str] = []
    skipping = job.model_copy(update={"prompts": job.prompts.model_copy(update={"policy": "Skip"})})
    preflight.run(skipping, said.append, lambda _layout: None)
    assert any("line 4: height 80" in line and "its prompts fail" in line for line in said), said
    assert any("line 5" in line and "left out" in line for line in said), said


def test_another_pipeline_is_named(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    index = Path(job.model.path) / "model_index.json"
    index.write_text(index.read_text().replace("FluxPipeline", "StableDiffusionPipeline"))
    code, message = refused(job)
    assert code == Exit.INVALID_PLAN
    assert "names the pipeline 'StableDiffusionPipeline'" in message


def test_a_missing_prompt_file(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    Path(job.prompts.path).unlink()
    assert refused(job) == (Exit.INVALID_PROMPTS, f"{job.prompts.path}: cannot read the prompt file: No such file or directory")


def test_another_model_in_the_same_directory(tmp_path: Path) -> None:
    check(make_job(tmp_path))
    code, message = refused(make_job(tmp_path, model={"dtype": "bfloat16"}))
    assert code == Exit.IDENTITY_MISMATCH
    assert 'dtype "float32" there, "bfloat16" here' in message


def test_gpus_are_counted_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path, device="cuda")
    monkeypatch.setattr(gpus, "_ASK", "print(0)")
    assert refused(job) == (Exit.GPU_COUNT, "0 GPUs in this pod, the job needs 1")
    monkeypatch.setattr(gpus, "_ASK", "raise SystemExit('the CUDA driver says error 100')")
    assert refused(job) == (Exit.GPU_COUNT, "no GPU in this pod: the CUDA driver says error 100")
    monkeypatch.setattr(gpus, "_ASK", "print(1)")
    assert check(job).counts.total == 4


def test_slices_of_visible_devices() -> None:
    assert [gpus.slice_of(lane, 2, "4,5,6,7") for lane in (0, 1)] == ["4,5", "6,7"]
    assert [gpus.slice_of(lane, 2, None) for lane in (0, 1)] == ["0,1", "2,3"]


def _as_nobody(path: str, answers: Any) -> None:
    os.setgroups([1234])
    os.setgid(65534)
    os.setuid(65534)
    try:
        probe.probe(Layout(Path(path), "png", "u"))
        answers.put((0, ""))
    except RefusedError as error:
        answers.put((int(error.ending.exit), error.ending.message))


@pytest.mark.skipif(os.getuid() != 0, reason="changes the user of a process")
def test_a_directory_of_another_user_is_refused_with_all_numbers() -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        process = context.Process(target=_as_nobody, args=(f"{directory}/out", answers))
        process.start()
        code, message = answers.get(timeout=20)
        process.join(20)
    assert code == Exit.OUTPUT_NOT_WRITABLE
    assert f"mkdir failed: Permission denied ({directory}/out)" in message or "mkdir failed: Permission denied" in message
    assert f"This process is uid 65534, gids 1234,65534; {directory} is owned by 0:0, mode 0755" in message


@pytest.mark.parametrize(
    ("call", "number", "code", "words"),
    [
        ("link", 95, Exit.OUTPUT_NOT_WRITABLE, "link failed: Operation not supported"),
        ("link", 28, Exit.OUTPUT_VOLUME, "link failed: No space left on device"),
        ("open", 30, Exit.OUTPUT_NOT_WRITABLE, "open with O_EXCL failed: Read-only file system"),
        ("replace", 38, Exit.OUTPUT_NOT_WRITABLE, "rename failed: Function not implemented"),
    ],
)
def test_a_volume_that_lacks_a_call_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: Exit, words: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "f")

    monkeypatch.setattr(os if call != "replace" else Path, call, fail)
    with pytest.raises(RefusedError) as caught:
        probe.probe(Layout(tmp_path / "out", "png", "u"))
    monkeypatch.undo()
    assert caught.value.ending.exit == code
    assert words in caught.value.ending.message
    assert list((tmp_path / "out/.xdit/tmp").iterdir()) == []


def test_a_volume_on_which_exclusive_creation_is_not_exclusive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *rest, **more: really(path, flags & ~os.O_EXCL, *rest, **more))
    with pytest.raises(RefusedError, match="O_EXCL opened a file that exists"):
        probe.probe(Layout(tmp_path, "png", "u"))
