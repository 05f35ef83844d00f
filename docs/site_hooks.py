"""What `make docs` adds to MkDocs: pages from outside of docs/, public names, glossary links."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from urllib.parse import urlsplit

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

PAGES = {
    "README.md": "index.md",
    "docs/index.md": "faces-index.md",  # index.md is the page that a site begins with
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "docs/walkthrough.ipynb": "walkthrough.md",
    "docs/article.ipynb": "article.md",
    "examples": "examples.md",
}
"""By path in the repository, the pages whose name or text is another on the site."""

LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
"""The target of a link in Markdown."""

NOT_LINKED = {"part", "run", "code", "version", "delete", "rank", "copy", "photo"}
"""Words of the glossary that often mean something else, or need no explanation."""


class PublicNames(griffe.Extension):
    """Shows `open_dataset = Dataset.open` of a package as a function with that name."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Replace the variables of a package that stand for a method by aliases of it."""
        for name, member in list(pkg.members.items()):
            if isinstance(member, griffe.Attribute) and isinstance(
                member.value, griffe.ExprAttribute
            ):
                pkg.set_member(name, griffe.Alias(name, member.value.canonical_path))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Replace the pages of `PAGES` by those that the site shows."""
    replaced = {source.removeprefix("docs/") for source in PAGES}
    pages = [File.generated(config, page, content=_text(source)) for source, page in PAGES.items()]
    return Files([*(file for file in files if file.src_uri not in replaced), *pages])


def _text(source: str) -> str:
    """Return the Markdown of a page that is made from a file or folder of the repository."""
    if source.endswith(".ipynb"):
        return _notebook_text(ROOT / source)
    if source == "examples":
        return _examples_text(ROOT / source)
    return (ROOT / source).read_text()


def _notebook_text(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    return "\n\n".join(
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    )


def _examples_text(folder: Path) -> str:
    parts = ["# Examples"]
    for path in sorted([*folder.glob("*.py"), *folder.glob("*.toml")]):
        if path.name != "__init__.py":
            language = path.suffix.removeprefix(".").replace("py", "python")
            code = f"```{language}\n{path.read_text()}```"
            parts.append(f"## {path.name} {{: #{path.stem} }}\n\n{code}")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """Point the links of the repository's files to the site's pages."""
    source = next((s for s, p in PAGES.items() if p == page.file.src_uri), None)
    folder = PurePosixPath(source or f"docs/{page.file.src_uri}").parent

    def target(match: re.Match[str]) -> str:
        url = urlsplit(match[0])
        if url.scheme or not url.path:
            return match[0]
        path = normpath(str(folder / url.path))
        if path.startswith("examples/"):
            return f"examples.md#{PurePosixPath(path).stem}"
        name = PAGES.get(path) or PAGES.get(f"{path}/README.md") or path.removeprefix("docs/")
        fragment = f"#{url.fragment}" if url.fragment else ""
        return relpath(name, str(PurePosixPath(page.file.src_uri).parent)) + fragment

    return LINK.sub(target, markdown)


def on_page_content(html: str, *, page: Page, files: Files, **_: object) -> str:
    """On the page of the Python reference, link the first use of each word in each entry."""
    if page.file.src_uri != "api.md":
        return html
    glossary = files.get_file_from_path("glossary.md")
    assert glossary is not None
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^### (.+)$", text, re.MULTILINE)
    linker = _Linker(
        [word for word in words if word not in NOT_LINKED], glossary.url_relative_to(page.file)
    )
    # A class method that is a function of the module has no first argument.
    linker.feed(re.sub(r'<span class="bp">cls</span><span class="p">,</span>\s*', "", html))
    linker.close()
    return "".join(linker.out)


class _Linker(HTMLParser):
    """Copies HTML, with links to the glossary in its running text."""

    UNTOUCHED = frozenset({"a", "code", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})

    def __init__(self, words: list[str], glossary: str) -> None:
        super().__init__(convert_charrefs=False)
        self.out: list[str] = []
        self._glossary = glossary
        self._linked: set[str] = set()
        self._untouched = 0
        # Abbreviations only in capitals: "far" and "tar" are other words.
        alternatives = "|".join(
            word if word.isupper() else f"(?i:{word})"
            for word in map(re.escape, sorted(words, key=len, reverse=True))
        )
        self._word = re.compile(rf"(?<![\w.-])({alternatives})(?:es|s)?(?![\w-])")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "h3":  # the next entry
            self._linked.clear()
        self._untouched += tag in self.UNTOUCHED
        self.out.append(self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.out.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self._untouched -= tag in self.UNTOUCHED
        self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.out.append(data if self._untouched else self._word.sub(self._link, data))

    def handle_entityref(self, name: str) -> None:
        self.out.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.out.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.out.append(f"<!--{data}-->")

    def _link(self, match: re.Match[str]) -> str:
        word = match[1].lower()
        if word in self._linked:
            return match[0]
        self._linked.add(word)
        anchor = re.sub(r"[^\w-]+", "-", word)
        return f'<a href="{self._glossary}#{anchor}">{match[0]}</a>'
