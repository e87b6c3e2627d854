"""The gallery: pages that open from disk, without a server and without scripts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from xdit_api.base import Json

PAGE = 500
"""Images a page."""

_STYLE = """
:root{color-scheme:light dark;--line:#8884}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1600px;padding:1.5rem}
h1{font-size:1.4rem;margin:0}
.about{margin:.25rem 0 1rem;opacity:.75}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:1rem 0}
nav a,nav b{border:1px solid var(--line);border-radius:.4rem;padding:.1rem .55rem;text-decoration:none;color:inherit}
nav b{background:var(--line)}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:1rem}
figure{margin:0}
figure a{display:block;aspect-ratio:1;background:#8881;border-radius:.4rem;overflow:hidden}
img{width:100%;height:100%;object-fit:contain}
figcaption{font-size:.82rem;margin-top:.3rem;overflow-wrap:anywhere;display:-webkit-box;-webkit-line-clamp:3;
-webkit-box-orient:vertical;overflow:hidden}
small{display:block;opacity:.65}
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the head of every page says."""

    title: str
    completed: int
    total: int
    model: str


def pages(lines: Sequence[Json], summary: Summary) -> list[str]:
    """The pages, the first one for index.html; at least one."""
    chunks = [lines[i : i + PAGE] for i in range(0, len(lines), PAGE)] or [[]]
    return ["".join(_page(chunk, number, len(chunks), summary)) for number, chunk in enumerate(chunks, 1)]


def _page(lines: Sequence[Json], number: int, count: int, summary: Summary) -> Iterable[str]:
    root = "" if number == 1 else "../"
    title = escape(summary.title)
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n<h1>{title}</h1>\n"
    yield f'<p class="about">{summary.completed} of {summary.total} images · {escape(summary.model)}</p>\n'
    navigation = _navigation(number, count, root)
    yield navigation
    yield "<main>\n"
    for line in lines:
        yield _figure(line, root)
    yield "</main>\n"
    yield navigation


def _navigation(number: int, count: int, root: str) -> str:
    if count == 1:
        return ""
    targets = {n: f"{root}index.html" if n == 1 else f"{root}gallery/page-{n}.html" for n in range(1, count + 1)}
    links = (f"<b>{n}</b>" if n == number else f'<a href="{target}">{n}</a>' for n, target in targets.items())
    return f"<nav>{''.join(links)}</nav>\n"


def _figure(line: Json, root: str) -> str:
    # a character that is not Unicode has no place in a page
    prompt = str(line["prompt"]).encode("utf-8", "replace").decode()
    text = escape(prompt, quote=True)
    facts = f"{line['width']}×{line['height']} · {line['steps']} steps · seed {line['seed']}"
    return (
        f'<figure><a href="{root}images/{escape(line["file"])}"><img loading="lazy" alt="{text}" '
        f'src="{root}gallery/thumbs/{escape(line["image"])}.jpg"></a>'
        f'<figcaption title="{text}">{text}</figcaption><small>{escape(line["image"])} · {escape(facts)}</small></figure>\n'
    )
