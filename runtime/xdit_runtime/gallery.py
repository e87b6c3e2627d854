"""The gallery: pages that open from disk, without a server and without scripts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from xdit_api.base import Json
from xdit_runtime.paths import Layout

PAGE = 500
"""Images a page."""
REFRESH_SECONDS = 30
"""The first page is read again so often while the job runs."""

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--done:#4a93}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1600px;padding:1.5rem}
h1{font-size:1.4rem;margin:0}
h2{font-size:1.05rem;margin:1.75rem 0 .5rem}
p{margin:.25rem 0}
.about{opacity:.75}
progress{width:100%;height:.6rem;margin:.75rem 0 .25rem;accent-color:#4a9}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:1rem 0}
nav a{border:1px solid var(--line);border-radius:.4rem;padding:.1rem .55rem;text-decoration:none;color:inherit;
font-variant-numeric:tabular-nums;background:linear-gradient(to right,var(--done) var(--d,0%),#0000 var(--d,0%))}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:1rem}
figure{margin:0}
figure a{display:block;aspect-ratio:1;background:#8881;border-radius:.4rem;overflow:hidden}
img{width:100%;height:100%;object-fit:contain}
figcaption{font-size:.82rem;margin-top:.3rem;overflow-wrap:anywhere;display:-webkit-box;-webkit-line-clamp:3;
-webkit-box-orient:vertical;overflow:hidden}
small{display:block;opacity:.65;overflow-wrap:anywhere}
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the first page says."""

    title: str
    model: str
    completed: int
    total: int
    failed: int
    """Prompts."""
    left_out: int
    """Lines of the prompt file."""
    others: int
    """Images of other jobs in the same directory."""
    ended: bool
    """Nothing more can come."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of images."""

    number: int
    """From 1."""
    first: int
    """Number of its first image, from 1."""
    size: int
    """Images that it will hold."""
    there: int
    """Images that it holds."""
    strange: bool
    """Images of other jobs."""

    @property
    def label(self) -> str:
        """'501-1000'."""
        return f"{self.first}–{self.first + self.size - 1}"


def mark(page: Page, count: int, uid8: str) -> str:
    """The first line of a page that will not change any more for this resource. count: of all pages."""
    return f"<!doctype html><!-- {uid8} page {page.number} of {count}: all {page.size} images -->\n"


def first_page(summary: Summary, layout: Layout, pages: Sequence[Page], lines: Sequence[Json]) -> str:
    """index.html. lines: everything when there are no pages, else the newest."""
    return "".join(_first(summary, layout, pages, lines))


def page(shown: Page, count: int, title: str, layout: Layout, lines: Sequence[Json]) -> str:
    """One of `count` pages of images."""
    return "".join(_page(shown, count, title, layout, lines))


def _first(summary: Summary, layout: Layout, pages: Sequence[Page], lines: Sequence[Json]) -> Iterable[str]:
    yield "<!doctype html>\n"
    yield _head(summary.title, refresh=not summary.ended)
    yield f'<p class="about">{summary.completed} of {summary.total} images · {escape(summary.model)}</p>\n'
    if not summary.ended:
        yield f'<progress max="{max(summary.total, 1)}" value="{summary.completed}"></progress>\n'
    if summary.failed or summary.left_out:
        failed = [_number(summary.failed, "prompt") + " failed"] if summary.failed else []
        left_out = [_number(summary.left_out, "line") + " of the prompt file left out"] if summary.left_out else []
        yield f'<p>{", ".join(failed + left_out)}: <a href="{layout.failures.name}">{layout.failures.name}</a></p>\n'
    if summary.others and not pages:
        yield f'<p class="about">With {_number(summary.others, "image")} of other jobs.</p>\n'
    if pages:
        yield "<h2>All images</h2>\n<nav>\n"
        for each in pages:
            label = f"other jobs {each.label}" if each.strange else each.label
            target = layout.page(each.number).relative_to(layout.root).as_posix()
            yield f'<a href="{target}" style="--d:{100 * each.there // each.size}%">{label}</a>\n'
        yield "</nav>\n<h2>Newest</h2>\n"
    yield from _figures(lines, layout, "")


def _page(shown: Page, count: int, title: str, layout: Layout, lines: Sequence[Json]) -> Iterable[str]:
    yield mark(shown, count, layout.uid8) if shown.there == shown.size else "<!doctype html>\n"
    yield _head(f"{title}: {shown.label}")
    yield f'<p class="about">{shown.there} of {shown.size} images of this page</p>\n'
    links = [('rel="up" href="../index.html"', "start")]
    if shown.number > 1:
        links.append((f'rel="prev" href="{layout.page(shown.number - 1).name}"', "← previous"))
    if shown.number < count:
        links.append((f'rel="next" href="{layout.page(shown.number + 1).name}"', "next →"))
    navigation = f"<nav>{''.join(f'<a {target}>{text}</a>' for target, text in links)}</nav>\n"
    yield navigation
    yield from _figures(lines, layout, "../")
    yield navigation


def _head(title: str, *, refresh: bool = False) -> str:
    text = escape(title)
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">\n' if refresh else ""
    return (
        f'<html lang="en">\n<meta charset="utf-8">\n{again}<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{text}</title>\n<style>{_STYLE}</style>\n<h1>{text}</h1>\n"
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _figures(lines: Sequence[Json], layout: Layout, root: str) -> Iterable[str]:
    yield "<main>\n"
    for line in lines:
        yield _figure(line, layout, root)
    yield "</main>\n"


def _figure(line: Json, layout: Layout, root: str) -> str:
    # a character that is not Unicode has no place in a page
    prompt = str(line["prompt"]).encode("utf-8", "replace").decode()
    text = escape(prompt, quote=True)
    facts = f"{line['width']}×{line['height']} · {line['steps']} steps · seed {line['seed']}"
    small = layout.thumbnail(line["image"]).relative_to(layout.root).as_posix()
    return (
        f'<figure><a href="{root}images/{escape(line["file"])}"><img loading="lazy" alt="{text}" src="{root}{small}"></a>'
        f'<figcaption title="{text}">{text}</figcaption><small>{escape(line["image"])} · {escape(facts)}</small></figure>\n'
    )
