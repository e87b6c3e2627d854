"""The termination message: always whole JSON, always within what the kubelet keeps."""

from hypothesis import given
from hypothesis import strategies as st

from xdit_api.report import RESULT_LIMIT, Exit, Result


@given(st.text(max_size=12_000), st.sampled_from(Exit))
def test_result_fits_and_reads_back(message: str, exit: Exit) -> None:
    result = Result(
        outcome="failed", exit_code=exit, reason=exit.reason, message=message, job_uid="u", time="2026-01-01T00:00:00Z"
    )
    text = result.encode()
    assert len(text.encode()) <= RESULT_LIMIT
    read = Result.decode(text)
    assert read is not None
    assert read.exit_code == exit
    assert message.startswith(read.message.removesuffix("…"))


def test_something_else_is_not_a_result() -> None:
    assert Result.decode("Traceback (most recent call last): …") is None
    assert Result.decode("{}") is None


def test_exit_codes_are_in_their_ranges() -> None:
    assert [e.name for e in Exit if e.permanent] == [
        "INVALID_JOB", "INVALID_PROMPTS", "INVALID_MODEL", "INVALID_PLAN", "IDENTITY_MISMATCH", "OUTPUT_NOT_WRITABLE",
    ]  # fmt: skip
    assert [e.name for e in Exit if e.hardware] == ["CUDA_ERROR", "NCCL_ERROR", "GPU_COUNT", "GPU_LOST"]
    assert Exit.INVALID_PROMPTS.reason == "InvalidPrompts"
