"""Keys of images: equal for equal inputs, and never changed by a new version of the worker."""

from dataclasses import replace
from pathlib import Path

from tests.unit.runtime.jobs import make_job
from xdit_api.prompts import Prompt
from xdit_runtime.record import difference, key_of, record_of

PLAIN = Prompt(0, "cat", "a cat", "", 5, 64, 64, 2, 3.5, 1)


def test_keys_of_images_that_exist_do_not_change(tmp_path: Path) -> None:
    # a changed key would refuse every resume
    record = record_of(make_job(tmp_path), PLAIN, 0)
    assert key_of(record) == record["key"] == "4d5d22e8674ce3f300f46bd4662c3169"
    assert {"inputs", "strength", "loras"}.isdisjoint(record)


def test_everything_that_changes_the_picture_changes_the_key(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    edit = replace(PLAIN, inputs=("/v/a.png",), digests=("aa",))
    different = [
        PLAIN,
        edit,
        replace(edit, digests=("bb",)),
        replace(edit, strength=0.5),
        replace(PLAIN, loras=()),
        replace(PLAIN, loras=(("ink", 1.0),)),
        replace(PLAIN, loras=(("ink", 0.5),)),
    ]
    keys = [record_of(job, prompt, 0)["key"] for prompt in different]
    assert len(set(keys)) == len(different)


def test_a_moved_input_image_is_the_same_input(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    here = replace(PLAIN, inputs=("/v/a.png",), digests=("aa",), line=3)
    assert record_of(job, here, 0)["key"] == record_of(job, replace(here, inputs=("/w/b.png",), line=4), 0)["key"]


def test_a_difference_names_both_values(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    there, here = (record_of(job, p, 0) for p in (replace(PLAIN, loras=(("ink", 1.0),)), PLAIN))
    assert difference(there, here) == 'loras [["ink", 1.0]] there, null here'
