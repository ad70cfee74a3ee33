"""Makes the site of the documentation: the pages where they lie in the repository, in the order of docs/README.md.

MkDocs calls the functions that begin with `on_` (mkdocs.yml). Pages keep their paths, so that links that work in the
repository work on the site. A file that no page links to is left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
HERE = "docs/site"
SEARCH_WORKER = f"{HERE}/iframe-worker.js"
CONTENTS = "docs/README.md"
RESULTS = "docs/results"
DECISIONS = "docs/decisions"
API = "docs/api.md"
CHINESE = ("README.zh-CN.md", "docs/zh-CN/guide.md")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```[^\n]*$)", re.S | re.M)
TEXT_BEFORE = re.compile(r"^(?![-*|#>]|\d+\. |\s|$)(.+)\n(?=(?:[-*]|\d+\.) |\|)", re.M)  # a list or table right below


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = navigation()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    theme = [file for file in files if file.src_dir != config.docs_dir]
    ours = [*pages(), *linked_files(), *reports(), f"{HERE}/site.css", SEARCH_WORKER]
    made = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in dict.fromkeys(ours)]
    return Files([*theme, *made])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    text = with_html_reports(page.file.src_uri, as_python_markdown(markdown))
    if page.file.src_uri == API:
        text += api_reference(markdown)
    if page.file.src_uri.startswith(f"{RESULTS}/"):
        text += embedded_reports(page.file.src_uri)
    return text


def on_post_page(output: str, page: Any, **_: Any) -> str:
    return without_network(output, page.file.dest_uri)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    return without_network(output_content, template_name)


def navigation() -> list[Any]:
    """The sections of docs/README.md, then the published runs and the pages in Chinese; no page twice."""
    taken = {"README.md", CONTENTS, *CHINESE}
    nav: list[Any] = [{"Home": ["README.md", CONTENTS]}]
    for section in re.split(r"^## ", read(CONTENTS), flags=re.M)[1:]:
        rows = "\n".join(line for line in section.splitlines() if line.startswith("|"))
        listed = [path for path in links(CONTENTS, rows) if path.endswith(".md") and not path.startswith(RESULTS)]
        inside = [path for path in dict.fromkeys(listed) if path not in taken]
        taken.update(inside)
        nav.append({section.splitlines()[0]: [path for path in inside if not path.startswith(DECISIONS)]})
    rest = [path for path in pages() if path not in taken and not path.startswith((RESULTS, DECISIONS))]
    last, in_last = nav.pop().popitem()
    return [
        *nav,
        {last: [*in_last, *rest, {"Decisions": folder(DECISIONS)}]},
        {"Published runs": folder(RESULTS)},
        {"中文": list(CHINESE)},
    ]


def folder(path: str) -> list[str]:
    """A folder's pages, its README first, reports last."""
    found = [page for page in pages() if page.startswith(f"{path}/")]
    return sorted(found, key=lambda page: (page != f"{path}/README.md", page.endswith("report.md")))


def pages() -> list[str]:
    """All that people wrote, and the reports that are in Markdown only."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").rglob("*.md"),
             *(ROOT / "locust_kvcache").rglob("*.md")]  # fmt: skip
    return sorted(path.relative_to(ROOT).as_posix() for path in found if not is_markdown_twin(path))


def is_markdown_twin(path: Path) -> bool:
    return path.name == "report.md" and path.with_suffix(".html").exists()


def linked_files() -> list[str]:
    """Pictures, examples and configurations that pages show or link to."""
    linked = {path for page in pages() for path in links(page, prose(read(page)))}
    return sorted(path for path in linked if (ROOT / path).is_file() and not is_markdown_twin(ROOT / path))


def reports() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / RESULTS).rglob("*.html"))


def without_network(html: str, path: str) -> str:
    """The theme loads what the search needs under file:// from the network; the site has it itself."""
    return html.replace("https://unpkg.com/iframe-worker/shim", os.path.relpath(SEARCH_WORKER, os.path.dirname(path) or "."))


def links(page: str, text: str) -> list[str]:
    """The files of the repository that a page links to, by their paths from its root."""
    found = [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    return [os.path.normpath(os.path.join(os.path.dirname(page), link)) for link in found]


def with_html_reports(page: str, text: str) -> str:
    """Where a report is there as HTML too, the site has that one."""
    twins = {link for link in re.findall(r"\]\(([^)\s#]*report\.md)\)", text) if is_markdown_twin((ROOT / page).parent / link)}
    for link in twins:
        text = text.replace(f"]({link})", f"]({link.removesuffix('.md')}.html)")
    return text


def prose(text: str) -> str:
    return FENCED.sub("", text)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def as_python_markdown(text: str) -> str:
    """GitHub starts a list or a table right below a line of text; Python's Markdown wants an empty line between."""
    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else TEXT_BEFORE.sub(r"\1\n\n", part) for part in parts)


def api_reference(text: str) -> str:
    """A directive of mkdocstrings for each name in the page's table."""
    names = re.findall(r"^\| `([\w.]+)`", text, re.M)
    return "\n## Reference\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"


def embedded_reports(page: str) -> str:
    """The reports below a page's folder, each in a frame that loads when it is opened."""
    folder = os.path.dirname(page)
    if not page.endswith("/README.md"):
        return ""
    if folder == RESULTS:  # those of folders that have no page of their own
        inside = [path for path in reports() if not any((ROOT / up / "README.md").exists() for up in below(path))]
    else:
        inside = [path for path in reports() if path.startswith(f"{folder}/")]
    frames = [frame(path, os.path.relpath(path, folder)) for path in inside]
    return "\n\n## Reports to open\n\n" + "\n\n".join(frames) + "\n" if frames else ""


def below(path: str) -> list[str]:
    """The folders of a file that lie below docs/results."""
    return [str(up) for up in Path(path).parents if str(up).startswith(f"{RESULTS}/")]


def frame(path: str, link: str) -> str:
    title = Path(link).parent.as_posix().removesuffix("/report") if link.endswith("report.html") else link
    return (
        f'<details class="report"><summary>{title}</summary>\n<p><a href="{link}" target="_blank">Open {link} alone</a></p>\n'
        f'<iframe loading="lazy" title="{title}" src="{link}"></iframe></details>'
    )
