"""The documentation as one page without scripts, made from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1e; background: #fff }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d2d2d7 }
h3 { margin: 1.5rem 0 .3rem; font: 600 1rem ui-monospace, monospace }
.method { color: #0a5fb4 }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
code, td:first-child { font-family: ui-monospace, monospace }
.faint { color: #6e6e73 }
"""


def docs_page(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    return "".join(_pieces(document))


def _pieces(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    )
    for paragraph in info["description"].strip().split("\n\n"):
        yield f"<p>{escape(paragraph)}</p>"
    yield '<p>For programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1)</p>'
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation.get("tags", [""])[-1] == tag["name"]:
                    yield from _operation(path, method, operation)
    yield "</html>"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    scope = operation.get("x-scope")
    yield (
        f'<h3><span class="method">{method.upper()}</span> {escape(path)}</h3>'
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}"
        + (f' <span class="faint">Scope: {escape(scope)}.</span>' if scope else "")
        + "</p>"
    )
    rows = [
        (parameter["name"], parameter["in"], parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    content = operation.get("requestBody", {}).get("content", {})
    for kind, body in content.items():
        for name, field in body["schema"].get("properties", {"": body["schema"]}).items():
            rows.append((name, kind, field.get("description", "")))
    if rows:
        yield "<table>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        yield "</table>"
