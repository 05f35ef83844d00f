"""The files of the page: what they may contain, their strings, and how they are served."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from facetrove.service.page_routes import FOLDER, page_files
from tests.support.small_collections import Collection

MODULES = sorted(FOLDER.rglob("*.js"))

LANGUAGES = ("en", "de")

FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|document\.cookie"
    r"|new EventSource|https?://(?!www\.w3\.org/2000/svg)"
)
"""Ways by which text could become markup or script, a key could be kept, or others be asked."""


def strings_of(language: str) -> dict[str, str]:
    text = (FOLDER / "strings" / f"{language}.js").read_text()
    pairs = re.findall(r'^  "([^"]+)": "((?:[^"\\]|\\.)*)",$', text, re.MULTILINE)
    assert len(pairs) == len(dict(pairs)) == text.count('": "')
    return dict(pairs)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_module_is_short_and_never_makes_markup_of_text(path: Path) -> None:
    text = path.read_text()
    assert FORBIDDEN.findall(text) == []
    assert text.startswith("//")
    assert len(text.splitlines()) <= 400


def test_both_languages_have_the_same_strings_with_the_same_values() -> None:
    english, german = map(strings_of, LANGUAGES)
    assert english.keys() == german.keys()
    for key, text in english.items():
        values = {*re.findall(r"\{(\w+)\}", text)}
        assert values == {*re.findall(r"\{(\w+)\}", german[key])}, key


def test_every_string_that_is_asked_for_is_there_and_every_other_is_used() -> None:
    """Keys in the code are whole, `"a.b"`, or begin a group, `` `a.${b}` `` and `named("a", b)`."""
    keys = {re.sub(r"\.(one|other)$", "", key) for key in strings_of("en")} | set(strings_of("en"))
    text = "".join(path.read_text() for path in MODULES if path.parent.name != "strings")
    asked = set(re.findall(r'\bt\("([\w.]+)"', text))
    assert asked - keys == set()
    groups = {group.rstrip(".") for group in re.findall(r"`([\w.]+)\.\$\{", text)}
    groups |= set(re.findall(r'named\("(\w+)"', text)) | {"error"}
    said = {*asked, *re.findall(r'"([\w]+(?:\.[\w]+)+)"', text)}
    unused = {
        key
        for key in strings_of("en")
        if key not in said
        and re.sub(r"\.(one|other)$", "", key) not in said
        and not any(key.startswith(f"{group}.") for group in groups)
    }
    assert {key for key in unused if "." in key or key not in text} == set()


def test_files_are_served_with_the_policy_of_the_page(client: httpx.Client) -> None:
    for name, file in page_files().items():
        answer = client.get(f"/page/{name}")
        assert (answer.status_code, answer.content) == (200, file.content)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy and "require-trusted-types-for 'script'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers
        again = client.get(f"/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/nothing.js", "/page/../guard.py", "/page/%2e%2e/guard.py", "/page/views"],
)
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_operations_stay_as_strict_as_they_are(
    client: httpx.Client, small: tuple[Collection, Path]
) -> None:
    for path in ("/v1/index", "/docs", "/v1/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "script-src" not in policy and "connect-src" not in policy
        assert client.get(path).headers["permissions-policy"].startswith("camera=()")
