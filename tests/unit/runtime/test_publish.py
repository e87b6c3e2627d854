"""Manifest and gallery, from what is on the volume."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_api.report import Counts
from xdit_runtime import publish
from xdit_runtime.ledger import open_lane, opening
from xdit_runtime.ledger.opening import open_prompts, settled
from xdit_runtime.paths import Layout, shard_of
from xdit_runtime.publish import Publisher
from xdit_runtime.sink import Made, Sink


def work(job: Job, replica: int = 0, limit: int = 1000) -> None:
    ledger = open_lane(job, replica=replica, lane=0, lanes=1, pod_uid=f"pod{replica}")
    sink = Sink(ledger, job, lambda _line: None)
    while limit and (claims := ledger.claim()):
        limit -= 1
        sink.put([Made(c.prompt, k, picture(job, c.prompt, k), 0.5) for c in claims for k in c.missing])
    sink.close()


def publisher(job: Job, replica: int = 0) -> Publisher:
    prompts = open_prompts(job, Layout.of(job))
    return Publisher(job, settled(Layout.of(job)), prompts, replica, "test")


def lines(job: Job) -> list[Any]:
    return [json.loads(line) for line in Layout.of(job).manifest.read_text().splitlines()]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def test_every_image_has_one_line_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    job = make_job(tmp_path, [{"id": "b", "prompt": "x", "images": 11}, {"id": "a", "prompt": "y", "style": "ink"}])
    work(job)
    publisher(job).publish()
    assert [line["file"] for line in lines(job)] == [*(f"b.{k}.png" for k in range(11)), "a.png"]
    assert lines(job)[-1]["extra"] == {"style": "ink"}
    assert lines(job)[0]["seconds"] == 0.5


def test_lines_that_a_crash_took_come_back_from_the_images(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    work(job)
    publisher(job).publish()
    before = lines(job)
    journal = next(Layout.of(job).journals.iterdir())
    journal.write_bytes(journal.read_bytes()[:-20])
    publisher(job).publish()
    after = lines(job)
    assert after[:2] == before[:2]
    assert after[2] == {name: value for name, value in before[2].items() if name not in ("seconds", "lane", "time")}


def test_of_two_lives_that_made_an_image_the_file_decides(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    work(job)
    journal = next(Layout.of(job).journals.iterdir())
    line = json.loads(journal.read_text())
    other = {**line, "sha256": "0" * 64, "lane": "9-0-other-1"}
    (journal.parent / "0-0-aaa-0.jsonl").write_text(json.dumps(other) + "\n")
    publisher(job).publish()
    assert lines(job) == [line]


def test_publishing_goes_on_where_it_was_and_rewrites_nothing_that_is_the_same(tmp_path: Path) -> None:
    job = make_job(tmp_path, 4)
    work(job, limit=2)
    p = publisher(job)
    p.publish()
    assert len(lines(job)) == 2
    thumbnail = Layout.of(job).thumbnail("p0000")
    thumbnail.unlink()
    before = Layout.of(job).manifest.stat().st_ino
    p.publish(final=False)
    assert not thumbnail.exists()
    p.publish()
    assert thumbnail.exists()
    assert Layout.of(job).manifest.stat().st_ino == before
    work(job)
    p.publish()
    assert len(lines(job)) == 4


def test_images_of_earlier_resources_stay_in_the_manifest(tmp_path: Path) -> None:
    work(make_job(tmp_path, [{"id": "old", "prompt": "x"}, {"id": "both", "prompt": "y"}]))
    job = make_job(tmp_path, [{"id": "new", "prompt": "z"}, {"id": "both", "prompt": "y"}], uid="bbbbbbbb-1")
    work(job)
    publisher(job).publish()
    assert [line["id"] for line in lines(job)] == ["new", "both", "old"]


def test_the_gallery_opens_from_disk_and_escapes_what_users_write(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script> & more'
    job = make_job(tmp_path, [{"id": "a", "prompt": evil}, {"id": "b", "prompt": "ein Löwe"}])
    work(job)
    publisher(job).publish()
    page = Layout.of(job).index
    text = page.read_text()
    assert "<script" not in text
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "ein Löwe" in text
    assert "2 of 2 images" in text
    links = Links()
    links.feed(text)
    assert len(links.found) == 4
    for link in links.found:
        assert (page.parent / link).is_file(), link
    with Image.open(page.parent / links.found[1]) as small:
        assert small.size == (64, 64)


def published(job: Job) -> dict[str, list[str]]:
    """Every page with its links; none of them may lead nowhere."""
    root = Layout.of(job).root
    pages = {path: Links() for path in (root / "index.html", *root.glob("gallery/*.html"))}
    for path, links in pages.items():
        links.feed(path.read_text())
        for link in links.found:
            assert (path.parent / link).resolve().is_file(), (path, link)
    return {path.name: links.found for path, links in pages.items()}


def test_many_images_have_a_small_first_page_and_pages_that_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "PAGE", 5)
    job = make_job(tmp_path, 12)
    work(job, limit=7)
    p = publisher(job)
    p.publish(final=False)
    pages = published(job)
    assert {name: sum("images/" in link for link in links) for name, links in pages.items()} == {
        "index.html": 7, "page-1.html": 5, "page-2.html": 2, "page-3.html": 0,
    }  # fmt: skip
    text = Layout.of(job).index.read_text()
    assert "7 of 12 images" in text
    assert 'http-equiv="refresh"' in text
    assert [f'style="--d:{percent}%">{label}</a>' in text for percent, label in ((100, "1–5"), (40, "6–10"), (0, "11–12"))]
    first, second = (Layout.of(job).page(n).stat().st_ino for n in (1, 2))
    work(job)
    publisher(job).publish()  # of another process
    assert sum("images/" in link for links in published(job).values() for link in links) == 12 + 12
    assert Layout.of(job).page(1).stat().st_ino == first
    assert Layout.of(job).page(2).stat().st_ino != second
    assert 'http-equiv="refresh"' not in Layout.of(job).index.read_text()


def test_images_of_other_jobs_have_pages_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PAGE", 5)
    work(make_job(tmp_path, [{"id": f"old{n}", "prompt": "x"} for n in range(6)]))
    job = make_job(tmp_path, 3, uid="bbbbbbbb-1")
    work(job)
    publisher(job).publish()
    pages = published(job)
    assert {name: sum("images/" in link for link in links) for name, links in pages.items()} == {
        "index.html": 3, "page-1.html": 3, "page-2.html": 5, "page-3.html": 1,
    }  # fmt: skip
    assert len(lines(job)) == 9


def test_a_sharded_directory_is_published_and_found_by_a_later_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SHARD_ABOVE", 3)
    job = make_job(tmp_path, [{"id": f"p{n}", "prompt": "x", "images": 2} for n in range(2)])
    work(job)
    publisher(job).publish()
    assert {path.parent.name for path in Layout.of(job).images.glob("*/*.png")} == {shard_of("p0"), shard_of("p1")}
    published(job)
    assert [line["file"] for line in lines(job)] == [f"{shard_of(i)}/{i}.{k}.png" for i in ("p0", "p1") for k in (0, 1)]
    monkeypatch.setattr(opening, "SHARD_ABOVE", 1000)
    more = make_job(tmp_path, [{"id": f"p{n}", "prompt": "x", "images": 2} for n in range(3)], uid="bbbbbbbb-1")
    ledger = open_lane(more, replica=0, lane=0, lanes=1, pod_uid="c")
    assert ledger.counts() == Counts(total=6, completed=4, skipped=4)
    assert [claim.prompt.id for claim in ledger.claim()] == ["p2"]


def test_failed_and_left_out_prompts_are_listed_with_line_and_reason(tmp_path: Path) -> None:
    job = make_job(
        tmp_path, text='{"id": "a", "prompt": "x"}\nnonsense\n{"id": "b", "prompt": "y"}\n', prompts={"policy": "Skip"}
    )
    ledger = open_lane(job, replica=0, lane=0, lanes=1, pod_uid="c")
    (claim,) = ledger.claim()
    ledger.fail(claim.prompt, ["too long"])
    work(job, replica=1)
    publisher(job).publish()
    failed = [json.loads(line) for line in Layout.of(job).failures.read_text().splitlines()]
    assert [(line["line"], line.get("id"), line["reasons"][0][:8]) for line in failed] == [
        (1, "a", "too long"),
        (2, None, "not JSON"),
    ]
    text = Layout.of(job).index.read_text()
    assert "refresh" not in text
    assert '1 prompt failed, 1 line of the prompt file left out: <a href="failed.jsonl">' in text
    assert len(lines(job)) == 1


def test_the_lowest_live_replica_publishes(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    open_lane(job, replica=1, lane=0, lanes=1, pod_uid="b")
    assert publisher(job, 0).elected()
    assert publisher(job, 1).elected()
    assert not publisher(job, 2).elected()
