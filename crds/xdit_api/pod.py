"""The inside of a worker pod: where the operator puts things and where the worker finds them."""

from pathlib import PurePosixPath

JOB_FILE = PurePosixPath("/xdit/job/job.json")
"""The resolved job (xdit_api.job.Job), from the ConfigMap `<resource>-job`."""
INLINE_PROMPTS = PurePosixPath("/xdit/job/prompts.jsonl")
"""Inline prompts, in the same ConfigMap."""
PROMPTS_DIR = PurePosixPath("/xdit/prompts")
"""The prompts ConfigMap or volume, read-only."""
MODEL_DIR = PurePosixPath("/models")
"""The model volume, read-only."""
OUTPUT_DIR = PurePosixPath("/outputs")
"""The output volume."""
LIFE_DIR = PurePosixPath("/xdit/life")
"""An emptyDir that outlives a container's life: the first life leaves a marker and its result here."""
CACHE_DIR = PurePosixPath("/cache")
"""Caches of compilers and libraries; an emptyDir unless the operator knows better."""
TERMINATION_LOG = PurePosixPath("/dev/termination-log")
"""Where the result (xdit_api.report.Result) goes; the kubelet copies up to 4096 bytes into the pod's status."""

HTTP_PORT = 8080
"""/progress, /metrics and /healthz of every supervisor; the operator asks pod 0 of each replica."""
MASTER_PORT = 29500
"""Rendezvous of a lane over several pods."""
PEER_PORT = 29501
"""Supervisors of a lane over several pods keep a connection to pod 0 here."""

ENV_JOB = "XDIT_JOB"
ENV_REPLICA = "XDIT_REPLICA"
ENV_ATTEMPT = "XDIT_ATTEMPT"
ENV_MASTER_ADDR = "MASTER_ADDR"
ENV_MASTER_PORT = "MASTER_PORT"
ENV_NNODES = "NNODES"
ENV_NODE_RANK = "NODE_RANK"
ENV_NPROC_PER_NODE = "NPROC_PER_NODE"
ENV_POD_NAME = "POD_NAME"
ENV_POD_UID = "POD_UID"
