"""Manifest and gallery, from what is on the volume."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_runtime import gallery
from xdit_runtime.ledger import open_lane
from xdit_runtime.ledger.opening import open_prompts
from xdit_runtime.paths import Layout
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
    layout = Layout.of(job)
    return Publisher(job, layout, open_prompts(job, layout), replica, "test")


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
    page = Layout.of(job).page(1)
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


def test_pages_of_500_link_to_each_other(tmp_path: Path) -> None:
    line = {"image": "i", "file": "i.png", "prompt": "p", "width": 1, "height": 1, "steps": 1, "seed": 1}
    pages = gallery.pages(
        [{**line, "image": f"i{n}", "file": f"i{n}.png"} for n in range(1001)], gallery.Summary("t", 1001, 2000, "m")
    )
    assert [page.count("<figure>") for page in pages] == [500, 500, 1]
    layout = Layout(tmp_path, "png", "u")
    for number, page in enumerate(pages, 1):
        layout.page(number).parent.mkdir(exist_ok=True)
        layout.page(number).write_text(page)
    for number in (1, 2, 3):
        links = re.findall(r'href="([^"]+html)"', layout.page(number).read_text())
        assert len(links) == 4
        assert all((layout.page(number).parent / link).resolve().is_file() for link in links)


def test_the_lowest_live_replica_publishes(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    open_lane(job, replica=1, lane=0, lanes=1, pod_uid="b")
    assert publisher(job, 0).elected()
    assert publisher(job, 1).elected()
    assert not publisher(job, 2).elected()
