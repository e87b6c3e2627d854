"""`spec` of an XDiTInference: what a user asks for.

Every docstring below is what `kubectl explain` prints. The CEL rules beside the fields are the whole admission
logic: there is no webhook.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from xdit_api.base import RELATIVE, FreeForm, Int64, Json, Model, Name, Quantity, RelativePath, cel, rules

Size = Annotated[int, Field(ge=64, le=4096, multiple_of=16, json_schema_extra={"format": "int32"})]
Steps = Annotated[int, Field(ge=1, le=500, json_schema_extra={"format": "int32"})]
Guidance = Annotated[float, Field(ge=0, le=100, json_schema_extra={"format": "double"})]
ImageCount = Annotated[int, Field(ge=1, le=64, json_schema_extra={"format": "int32"})]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1, json_schema_extra={"format": "int64"})]
PromptText = Annotated[str, Field(min_length=1, max_length=2000)]
MAX_SCALE = 10
LoraName = Annotated[str, Field(max_length=64, pattern="^[A-Za-z0-9_-]{1,64}$")]
LoraScale = Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE, json_schema_extra={"format": "double"})]
Degree = Annotated[int, Field(ge=1, le=64, json_schema_extra={"format": "int32"})]


def exactly_one(what: str, *fields: str) -> Json:
    """CEL: exactly one of the optional `fields` is set."""
    count = " + ".join(f"(has(self.{f}) ? 1 : 0)" for f in fields)
    listed = ", ".join(fields[:-1]) + " or " + fields[-1]
    return cel(f"{count} == 1", f"{what} must have exactly one of {listed}")


# --- model -----------------------------------------------------------------------------------------------------------


class PvcModelSource(Model):
    """A directory on a PersistentVolumeClaim, mounted read-only."""

    claim_name: Name
    """Name of the PersistentVolumeClaim in this namespace."""
    path: RelativePath | None = None
    """Directory of the model inside the claim (the one that holds model_index.json). Default: the claim's root."""


class ImageModelSource(Model):
    """An OCI image whose root is the model directory, mounted as a read-only image volume (Kubernetes 1.35 or later)."""

    reference: Annotated[str, Field(min_length=1, max_length=512)]
    """Image reference; pin it by digest."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image."""


class SecretKey(Model):
    """One key of a Secret in this namespace. Only the kubelet reads it."""

    name: Name
    """Name of the Secret."""
    key: Name
    """Key in the Secret."""


class CacheVolume(Model):
    """The claim that keeps downloaded models between jobs."""

    claim_name: Name
    """Name of the PersistentVolumeClaim in this namespace."""


class HuggingFaceModelSource(Model):
    """A repository on a Hugging Face hub, downloaded once by a Job without GPUs into `cache`."""

    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """Commit of the repository, 40 hexadecimal digits: a job must not change under its own feet."""
    token_secret: SecretKey | None = None
    """Token for gated repositories. Only the download pod sees it."""
    cache: CacheVolume
    """Where the download is kept."""


class ModelSource(Model):
    """Where the weights are. Exactly one of pvc, image or huggingFace."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("spec.model.source", "pvc", "image", "huggingFace")))
    pvc: PvcModelSource | None = None
    """A directory on a PersistentVolumeClaim."""
    image: ImageModelSource | None = None
    """An OCI image volume."""
    hugging_face: HuggingFaceModelSource | None = None
    """A Hugging Face repository at a pinned commit."""


class Lora(Model):
    """A LoRA adapter that is loaded before the model is parallelised."""

    name: LoraName
    """Name by which prompts choose it."""
    path: RelativePath
    """A .safetensors file, relative to the model source."""
    scale: LoraScale = 1.0
    """Weight of the adapter."""


class ModelRef(Model):
    """The diffusion transformer to run."""

    id: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    """Catalogue key or Hugging Face repository id, for example black-forest-labs/FLUX.1-dev. Decides the planning; weights come from `source`."""
    source: ModelSource
    """Where the weights are."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of weights and activations."""
    loras: Annotated[
        list[Lora],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """LoRA adapters, by name."""


# --- parallelism -----------------------------------------------------------------------------------------------------


class Parallelism(Model):
    """Parallel degrees. An absent degree is 1; the product of all must equal spec.gpus. Leave the whole object out (or empty) to let the planner choose."""

    data: Degree | None = None
    """Lanes per replica: independent worlds inside the pod that share the work. Needs gpus == gpusPerPod."""
    cfg: Annotated[int, Field(ge=1, le=2, json_schema_extra={"format": "int32"})] | None = None
    """Classifier-free guidance parallelism: 2 computes the conditional and the unconditional half on different ranks."""
    ulysses: Degree | None = None
    """Ulysses sequence parallelism: splits the attention heads. Must divide the model's number of heads."""
    ring: Degree | None = None
    """Ring sequence parallelism: splits the sequence and passes keys and values around."""
    pipefusion: Annotated[int, Field(ge=1, le=16, json_schema_extra={"format": "int32"})] | None = None
    """PipeFusion: splits the layers into stages. Lossy; every image says so."""
    pipefusion_patches: Annotated[int, Field(ge=1, le=8, json_schema_extra={"format": "int32"})] | None = None
    """Patches an image is cut into for PipeFusion. Default: the number of stages."""
    warmup_steps: Annotated[int, Field(ge=1, le=100, json_schema_extra={"format": "int32"})] | None = None
    """Synchronous first steps of PipeFusion. Default: 1."""


# --- prompts ---------------------------------------------------------------------------------------------------------


PromptPath = Annotated[
    str, Field(min_length=1, max_length=512, pattern=r"\.(jsonl|json|txt|csv)$", json_schema_extra=rules(RELATIVE))
]


class ConfigMapPrompts(Model):
    """A prompt file in a ConfigMap of this namespace."""

    name: Name
    """Name of the ConfigMap."""
    key: Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9._-]+\.(jsonl|json|txt|csv)$")]
    """Key of the file; its ending says the format: .jsonl (one JSON object a line), .json (a list of objects), .txt (one prompt a line) or .csv (a header row, then one prompt a row)."""


class VolumePrompts(Model):
    """A prompt file on a PersistentVolumeClaim."""

    claim_name: Name
    """Name of the PersistentVolumeClaim in this namespace."""
    path: PromptPath
    """The file inside the claim; its ending says the format: .jsonl, .json, .txt or .csv. Paths of input images are relative to its directory."""


class LoraChoice(Model):
    """A LoRA of spec.model.loras for one prompt."""

    name: LoraName
    """Its name."""
    scale: LoraScale | None = None
    """Weight of the adapter. Default: the scale in spec.model.loras."""


class InlinePrompt(Model):
    """One prompt, written in the resource itself."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,128}$")]
    """Name of the picture's file; unique ignoring case."""
    prompt: PromptText
    """What to draw."""
    negative_prompt: Annotated[str, Field(max_length=2000)] | None = None
    """What not to draw."""
    seed: Seed | None = None
    """Seed of the first image of this prompt. Default: derived from defaults.seed and the id."""
    width: Size | None = None
    """Width in pixels."""
    height: Size | None = None
    """Height in pixels."""
    steps: Steps | None = None
    """Denoising steps."""
    guidance_scale: Guidance | None = None
    """Guidance scale."""
    images: ImageCount | None = None
    """Images for this prompt."""
    loras: (
        Annotated[
            list[LoraChoice],
            Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ]
        | None
    ) = None
    """LoRAs of this prompt. Default: all of spec.model.loras; an empty list: none."""


class Prompts(Model):
    """What to draw. Exactly one of configMap, volume or inline."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("spec.prompts", "configMap", "volume", "inline")))
    config_map: ConfigMapPrompts | None = None
    """A prompt file in a ConfigMap (up to 1 MiB)."""
    volume: VolumePrompts | None = None
    """A prompt file on a volume (any size)."""
    inline: (
        Annotated[
            list[InlinePrompt],
            Field(
                min_length=1,
                max_length=256,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
            ),
        ]
        | None
    ) = None
    """A few prompts in the resource itself."""
    policy: Literal["Fail", "Skip"] = "Fail"
    """What a bad line of a prompt file does. Fail: the job does not start, and every bad line is named. Skip: the line is left out and counted."""


class Defaults(Model):
    """What a prompt uses where its own line says nothing."""

    width: Size = 1024
    """Width in pixels, a multiple of 16."""
    height: Size = 1024
    """Height in pixels, a multiple of 16."""
    steps: Steps = 28
    """Denoising steps."""
    guidance_scale: Guidance = 3.5
    """Guidance scale."""
    images_per_prompt: ImageCount = 1
    """Images for each prompt, with different seeds."""
    seed: Seed = 42
    """Seed of the job. The seed of image k of a prompt is derived from this, the prompt's id and k: the same on any number of GPUs."""
    negative_prompt: Annotated[str, Field(max_length=2000)] = ""
    """What not to draw."""


# --- output ----------------------------------------------------------------------------------------------------------


class CreateOutput(Model):
    """A PersistentVolumeClaim that the operator makes. It has no owner: deleting the resource never deletes pictures."""

    size: Quantity
    """Size of the claim, for example 20Gi."""
    storage_class_name: Name | None = None
    """StorageClass. Default: the cluster's."""
    access_modes: Annotated[
        list[Literal["ReadWriteOnce", "ReadWriteMany"]],
        Field(min_length=1, max_length=1, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ["ReadWriteOnce"]
    """ReadWriteMany when pods run on several nodes."""


class Output(Model):
    """Where pictures go. Exactly one of claimName or create."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("spec.output", "claimName", "create")))
    claim_name: Name | None = None
    """An existing PersistentVolumeClaim of this namespace."""
    create: CreateOutput | None = None
    """A claim that the operator makes."""
    path: RelativePath | None = None
    """Directory inside the claim. Default: the resource's name. A finished directory may be used again: what is there is not made twice."""
    format: Literal["png", "webp", "jpeg"] = "png"
    """File format; png and webp are lossless here."""


# --- engine ----------------------------------------------------------------------------------------------------------


class Vae(Model):
    """How latents become pixels."""

    tiling: Literal["Auto", "On", "Off"] = "Auto"
    """Decode in tiles to save memory. Auto: above 2048 x 2048."""
    slicing: bool = False
    """Decode a batch one image at a time to save memory."""


class Engine(Model):
    """Speed against exactness. The defaults change no picture."""

    compile: Literal["Auto", "Always", "Never"] = "Auto"
    """torch.compile. Auto: when the job is long enough to win the time back."""
    attention: Literal["Auto", "CUDNN", "Flash", "Flash3", "SDPA"] = "Auto"
    """Attention kernel. Auto: the fastest exact one of the GPU that works with the degrees."""
    cache: Literal["None", "TeaCache", "FBCache"] = "None"
    """Step cache. Lossy."""
    vae: Vae = Vae()
    """How latents become pixels."""
    offload: Literal["None", "TextEncoder", "Model"] = "None"
    """What waits in host memory while it is not used."""
    quantization: Literal["None", "Int8", "FP8"] = "None"
    """Weight quantisation. Lossy."""


# --- where and how the pods run --------------------------------------------------------------------------------------


class Toleration(Model):
    """A Kubernetes toleration."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Taint key."""
    operator: Literal["Exists", "Equal"] | None = None
    """How key and value are compared."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect."""
    toleration_seconds: Int64 | None = None
    """How long a NoExecute taint is tolerated."""


Label = Annotated[str, Field(max_length=63)]
Annotation = Annotated[str, Field(max_length=4096)]


class Scheduling(Model):
    """Where pods run and who queues them."""

    queue_name: Annotated[str, Field(max_length=63)] | None = None
    """Kueue LocalQueue."""
    scheduler_name: Annotated[str, Field(max_length=63)] | None = None
    """Scheduler. Default: the cluster's."""
    priority_class_name: Name | None = None
    """PriorityClass."""
    node_selector: Annotated[dict[str, Label], Field(max_length=32)] | None = None
    """Labels that a node must have."""
    tolerations: (
        Annotated[list[Toleration], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})] | None
    ) = None
    """Taints that are tolerated."""
    affinity: FreeForm | None = None
    """Kubernetes affinity, passed through."""
    topology_key: Annotated[str, Field(max_length=317)] | None = None
    """Node label that all pods of a replica should share, for example topology.kubernetes.io/zone."""
    force_delete_after_seconds: Annotated[int, Field(ge=30, le=86400, json_schema_extra={"format": "int32"})] | None = None
    """Delete pods of a lost node by force after this many seconds. Default: never."""


RESERVED_ENV_PREFIXES = ("MASTER_", "PET_", "XDIT_", "POD_")
RESERVED_ENV = ("NNODES", "NODE_RANK", "NPROC_PER_NODE", "RANK", "LOCAL_RANK", "WORLD_SIZE")


class EnvVar(Model):
    """An environment variable of the worker container."""

    name: Annotated[str, Field(max_length=256, pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name; the rendezvous variables are the operator's."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Value; may refer to $(OTHER)."""
    value_from: FreeForm | None = None
    """Kubernetes EnvVarSource, passed through."""


class LocalRef(Model):
    """An object of this namespace."""

    name: Name
    """Its name."""


class Resources(Model):
    """Resources of a worker pod, besides the GPUs."""

    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """Limits, for example memory: 64Gi, rdma/ib: 1."""
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """Requests."""


class WorkerSecurityContext(Model):
    """Who the worker runs as. Everything else is fixed to Pod Security `restricted`."""

    run_as_user: Annotated[int, Field(ge=1, le=2**31 - 1, json_schema_extra={"format": "int64"})] = 1000
    """User id."""
    run_as_group: Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int64"})] = 1000
    """Group id."""
    fs_group: Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int64"})] = 1000
    """Group that owns the volumes."""
    supplemental_groups: (
        Annotated[list[Int64], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})] | None
    ) = None
    """More groups."""


_RESERVED = " || ".join([f"e.name.startsWith('{p}')" for p in RESERVED_ENV_PREFIXES] + [f"e.name == '{n}'" for n in RESERVED_ENV])


class Worker(Model):
    """The worker pods."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Runtime image. Default: the operator's --worker-image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the kubelet pulls the image."""
    image_pull_secrets: (
        Annotated[list[LocalRef], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"})] | None
    ) = None
    """Secrets for private registries."""
    resources: Resources | None = None
    """CPU, memory and other resources of each pod. GPUs come from gpusPerPod."""
    env: (
        Annotated[
            list[EnvVar],
            Field(
                max_length=64,
                json_schema_extra={
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    **rules(
                        cel(
                            f"self.all(e, !({_RESERVED}))",
                            "worker.env must not set the operator's own variables: MASTER_*, PET_*, XDIT_*, POD_*, NNODES, "
                            "NODE_RANK, NPROC_PER_NODE, RANK, LOCAL_RANK, WORLD_SIZE",
                        )
                    ),
                },
            ),
        ]
        | None
    ) = None
    """More environment variables."""
    shm_size: Quantity | None = None
    """Size of /dev/shm. Default: 1Gi for each GPU of the pod."""
    service_account_name: Name | None = None
    """ServiceAccount; its token is not mounted. Default: default."""
    security_context: WorkerSecurityContext = WorkerSecurityContext()
    """User and groups of the worker."""
    pod_labels: Annotated[dict[str, Label], Field(max_length=32)] | None = None
    """More labels on the pods."""
    pod_annotations: Annotated[dict[str, Annotation], Field(max_length=32)] | None = None
    """More annotations on the pods."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600, json_schema_extra={"format": "int64"})] = 120
    """Time for the current image to be finished when a pod is stopped."""
    network_policy: bool = True
    """Allow traffic only inside the group, from the operator and from monitoring, and to DNS."""


# --- the whole -------------------------------------------------------------------------------------------------------

MUTABLE = (
    "replicas",
    "suspend",
    "backoffLimit",
    "failedPromptsLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "stallSeconds",
)
"""Fields of spec that may change after creation; every other one is frozen."""

_DEGREES = ("data", "cfg", "ulysses", "ring", "pipefusion")


def _degree(name: str) -> str:
    return f"(has(self.parallelism.{name}) ? self.parallelism.{name} : 1)"


_PRODUCT = " * ".join(_degree(d) for d in _DEGREES)
_ANY_DEGREE = " || ".join(f"has(self.parallelism.{d})" for d in _DEGREES)

_SPEC_RULES = (
    cel(
        f"!has(self.parallelism) || !({_ANY_DEGREE}) || {_PRODUCT} == self.gpus",
        "the product of the parallel degrees must equal spec.gpus",
        expression="'data x cfg x ulysses x ring x pipefusion = "
        + " x ".join(["%d"] * len(_DEGREES))
        + " = %d, but spec.gpus is %d: change the degrees or spec.gpus, or leave spec.parallelism out'.format(["
        + ", ".join(_degree(d) for d in _DEGREES)
        + f", {_PRODUCT}, self.gpus])",
        field=".parallelism",
    ),
    cel(
        "!has(self.gpusPerPod) || self.gpus % self.gpusPerPod == 0",
        "spec.gpus must be a multiple of spec.gpusPerPod",
        expression="'spec.gpus is %d, which is not a multiple of spec.gpusPerPod %d: every pod of a replica has the same "
        "number of GPUs'.format([self.gpus, self.gpusPerPod])",
        field=".gpusPerPod",
    ),
    cel(
        "!has(self.parallelism) || !has(self.parallelism.data) || self.parallelism.data == 1 || "
        "(has(self.gpusPerPod) ? self.gpusPerPod == self.gpus : self.gpus <= 8)",
        "parallelism.data > 1 needs all GPUs of a replica in one pod (gpusPerPod == gpus); for more pods raise spec.replicas",
        expression="'parallelism.data is %d, but lanes live inside one pod: set gpusPerPod to %d, or data to 1 and raise "
        "spec.replicas'.format([self.parallelism.data, self.gpus])",
        field=".parallelism.data",
    ),
)


class Spec(Model):
    """What to draw, with what, on how many GPUs, and where the pictures go."""

    model: ModelRef
    """The diffusion transformer to run."""
    gpus: Annotated[int, Field(ge=1, le=256, json_schema_extra={"format": "int32"})]
    """GPUs for each replica, which is the number of its ranks."""
    gpus_per_pod: Annotated[int, Field(ge=1, le=16, json_schema_extra={"format": "int32"})] | None = None
    """GPUs in each pod; a replica has gpus / gpusPerPod pods. Default: the largest divisor of gpus up to 8."""
    gpu_resource: Annotated[
        str,
        Field(
            max_length=253,
            json_schema_extra=rules(
                cel(
                    "self == 'none' || self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
                    "must be an extended resource such as nvidia.com/gpu, or none for CPU ranks",
                )
            ),
        ),
    ] = "nvidia.com/gpu"
    """Extended resource that a rank takes one of; `none` runs CPU ranks on gloo (demos, CI)."""
    replicas: Annotated[int, Field(ge=1, le=64, json_schema_extra={"format": "int32"})] = 1
    """Independent groups that share the prompts, one StatefulSet each. May change while the job runs."""
    parallelism: Parallelism | None = None
    """Parallel degrees inside a replica. Default: the planner chooses; status.plan says what and why."""
    prompts: Prompts
    """What to draw."""
    defaults: Defaults = Defaults()
    """What a prompt uses where its own line says nothing."""
    output: Output
    """Where pictures go."""
    engine: Engine = Engine()
    """Speed against exactness."""
    suspend: bool = False
    """True releases all GPUs and keeps everything; false goes on where it stopped."""
    backoff_limit: Annotated[int, Field(ge=0, le=1000, json_schema_extra={"format": "int32"})] = 3
    """Restarts of each replica's group before the job fails. Evictions and lost nodes are not counted."""
    failed_prompts_limit: Annotated[int, Field(ge=0, le=1000000, json_schema_extra={"format": "int32"})] = 0
    """Prompts that may fail before the job does."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000, json_schema_extra={"format": "int32"})] | None = None
    """Seconds the job may be active before it fails. Default: no limit."""
    stall_seconds: Annotated[int, Field(ge=30, le=86400, json_schema_extra={"format": "int32"})] = 600
    """Seconds without any progress after which a group counts as hung and is restarted."""
    start_deadline_seconds: Annotated[int, Field(ge=30, le=86400, json_schema_extra={"format": "int32"})] = 1800
    """Seconds after which a replica of which only some pods could be scheduled gives its GPUs back and tries again."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000, json_schema_extra={"format": "int32"})] | None = None
    """Seconds after the end until the job's StatefulSets, Service, ConfigMap and NetworkPolicy are deleted; never the resource, never pictures. Default: kept."""
    scheduling: Scheduling = Scheduling()
    """Where pods run and who queues them."""
    worker: Worker = Worker()
    """The worker pods."""


def _frozen() -> list[Json]:
    """One transition rule a frozen field; `has()` parity so that removing and adding again is no way around it."""
    out = []
    for name, field in Spec.model_fields.items():
        alias = field.alias or name
        if alias in MUTABLE:
            continue
        always = field.is_required() or field.default is not None
        same = f"self.{alias} == oldSelf.{alias}"
        rule = same if always else f"has(self.{alias}) == has(oldSelf.{alias}) && (!has(self.{alias}) || {same})"
        out.append(cel(rule, f"spec.{alias} is immutable: create a new XDiTInference", field=f".{alias}", forbidden=True))
    return out


Spec.model_config["json_schema_extra"] = rules(*_SPEC_RULES, *_frozen())
