"""What the API can say but this version does not do: said, never passed over."""

from xdit_api.spec import Spec
from xdit_operator.problem import Problem


def unsupported(spec: Spec) -> Problem | None:
    """The first field of the spec that would have no effect."""
    source = spec.model.source
    fields = (
        ("spec.model.source.huggingFace", source.hugging_face, "put the model on a claim and use source.pvc"),
        ("spec.model.source.image", source.image, "put the model on a claim and use source.pvc"),
        ("spec.output.create", spec.output.create, "create the claim and name it in output.claimName"),
        ("spec.scheduling.queueName", spec.scheduling.queue_name, "leave it out"),
        ("spec.ttlSecondsAfterFinished", spec.ttl_seconds_after_finished, "delete the resource when its pictures are fetched"),
        ("spec.scheduling.forceDeleteAfterSeconds", spec.scheduling.force_delete_after_seconds, "leave it out"),
    )
    for path, value, instead in fields:
        if value is not None:
            return Problem("NotSupported", f"{path} is not supported by this version of the operator: {instead}")
    return None
