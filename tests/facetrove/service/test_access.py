"""Keys, scopes, names of hosts and origins, the audit log, and headers."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from faces.core.errors import BusyError, CorruptFileError, WrongUsageError
from facetrove.service.app import openapi_document
from facetrove.service.keys import SCOPES, KeyRing, Scope, add_key, read_keys, remove_key
from facetrove.service.options import ServiceOptions
from facetrove.service.service import Service
from tests.support.command import require_message, run_facetrove
from tests.support.service import bearer, error_of, serving
from tests.support.small_collections import Collection, face_id_of


@pytest.mark.slow
def test_a_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    added = run_facetrove("keys", "add", file, "picture-desk", "--scope", "search")
    key = added.stdout.strip()
    assert re.fullmatch(r"ft_[\w-]{43}", key) and "not shown again" in added.stderr
    assert key not in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = json.loads(run_facetrove("keys", "list", file, "--json").stdout)
    assert [(k["name"], k["scopes"]) for k in listed["keys"]] == [("picture-desk", ["search"])]
    ring = KeyRing(file)
    found = ring.find(key)
    assert found is not None and found.name == "picture-desk"
    assert ring.find(key + "x") is None and ring.find("") is None
    run_facetrove("keys", "add", file, "second", "--scope", "enrol", "--scope", "search")
    run_facetrove("keys", "remove", file, "picture-desk")
    assert ring.find(key) is None
    assert "second" in run_facetrove("keys", "list", file).stdout
    require_message(
        *("keys", "remove", file, "picture-desk"), exit_code=2, says=["has no key"], json_too=False
    )
    with pytest.raises(WrongUsageError, match="has a key 'second'"):
        add_key(file, "second", ["admin"])
    with pytest.raises(WrongUsageError, match="cannot be a key's name"):
        add_key(file, "two words", ["admin"])
    with pytest.raises(WrongUsageError, match="give --scope"):
        add_key(file, "third", [])


@pytest.mark.parametrize(
    "content",
    [
        "[[key]]\n",
        "[[key]]\nname = 'a'\nsha256 = 'short'\nscopes = ['search']\n",
        f"[[key]]\nname = 'a'\nsha256 = '{'0' * 64}'\nscopes = []\n",
        f"[[key]]\nname = 'a'\nsha256 = '{'0' * 64}'\nscopes = ['all']\n",
        f"[[key]]\nname = 'a\\nb'\nsha256 = '{'0' * 64}'\nscopes = ['search']\n",
        2 * f"[[key]]\nname = 'a'\nsha256 = '{'0' * 64}'\nscopes = ['search']\n",
        "keys = 1\n",
        "[" * 10_000,
        "\0",
    ],
)
def test_a_wrong_file_of_keys_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(CorruptFileError, match="is no file of keys"):
        read_keys(file)


def test_a_file_of_keys_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, "a", ["search"])
    file.chmod(0o620)
    with pytest.raises(WrongUsageError, match="chmod 600"):
        read_keys(file)


def test_no_key_counts_while_the_file_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, "a", ["search"])
    ring = KeyRing(file)
    content = file.read_text()
    file.write_text("nonsense")
    for _ in range(2):
        with pytest.raises(CorruptFileError):
            ring.find(key)
    file.write_text(content)
    assert ring.find(key) is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_only_a_loopback_address_is_served(
    small: tuple[Collection, Path], host: str
) -> None:
    with pytest.raises(WrongUsageError, match="keys are needed"):
        Service.open(ServiceOptions(small[1], host=host))
    with pytest.raises(WrongUsageError, match="--allow-host is for a proxy"):
        Service.open(ServiceOptions(small[1], allowed_hosts=("faces.example",)))


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[Scope, str]:
    return {scope: add_key(folder / "keys.toml", scope, [scope]) for scope in SCOPES}


@pytest.fixture(scope="module")
def locked(
    small: tuple[Collection, Path], folder: Path, keys: dict[Scope, str]
) -> Iterator[httpx.Client]:
    """A service with keys, in which nothing may be changed."""
    with serving(
        small[1], keys=folder / "keys.toml", state=folder / "locked", audit=folder / "audit.jsonl"
    ) as client:
        yield client


def operations() -> list[tuple[str, str, str | None]]:
    """Return method, path and scope of every operation, with ids that nothing has."""
    found = []
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            filled = path.replace("{job_id}", "0" * 32).replace("{photo_id}", "0" * 64)
            filled = filled.replace("{face_id}", "0" * 32).replace("{person_id}", "7")
            filled = filled.replace("{watch_id}", "0" * 32)
            found.append((method.upper(), filled, operation.get("x-scope")))
    return found


OPERATIONS = operations()


@pytest.mark.parametrize(("method", "path", "scope"), OPERATIONS)
def test_every_operation_needs_a_key_of_its_scope(
    locked: httpx.Client, keys: dict[Scope, str], method: str, path: str, scope: str | None
) -> None:
    without = locked.request(method, path)
    wrong = locked.request(method, path, headers=bearer("ft_wrong"))
    if path in ("/livez", "/readyz"):
        assert without.status_code == wrong.status_code == 200
        return
    assert error_of(without) == error_of(wrong) == (401, "no_key")
    assert without.headers["www-authenticate"].startswith("Bearer")
    for name, key in keys.items():
        answer = locked.request(method, path, headers=bearer(key))
        if scope in (name, "any", None) or name == "admin":
            assert answer.status_code not in (401, 403), (name, answer.text)
        else:
            assert error_of(answer) == (403, "wrong_scope"), name


def test_every_operation_under_v1_says_its_scope() -> None:
    assert {scope for _, path, scope in OPERATIONS if path.startswith("/v1/")} == {*SCOPES, "any"}


def test_a_key_works_and_stops_to_work_without_a_restart(
    locked: httpx.Client, folder: Path
) -> None:
    key = add_key(folder / "keys.toml", "guest", ["search"])
    assert locked.get("/v1/index", headers=bearer(key)).status_code == 200
    remove_key(folder / "keys.toml", "guest")
    assert error_of(locked.get("/v1/index", headers=bearer(key))) == (401, "no_key")


def test_the_audit_log_says_who_asked_for_what_and_nothing_personal(
    locked: httpx.Client, keys: dict[Scope, str], folder: Path
) -> None:
    face = face_id_of(1, 0)
    body = {"face_id": face, "where": "person = 'person 1'"}
    answer = locked.post("/v1/search", json=body, headers=bearer(keys["search"]))
    assert answer.json()["probes"][0]["matches"]
    locked.get(f"/v1/faces/{face}", headers=bearer(keys["search"]))
    locked.get("/v1/index")
    lines = (folder / "audit.jsonl").read_text().splitlines()
    entries = {entry["request_id"]: entry for entry in map(json.loads, lines)}
    entry = entries[answer.headers["x-request-id"]]
    assert (entry["operation"], entry["key"], entry["status"]) == ("search", "search", 200)
    assert entry["counts"] == {"probes": 1, "matches": 10}
    assert [*entries.values()][-1]["key"] is None
    text = "".join(lines)
    for personal in (face, "person 1", "/photos/", *keys.values()):
        assert personal not in text
    assert stat.S_IMODE((folder / "audit.jsonl").stat().st_mode) == 0o600


def test_the_audit_log_can_be_rotated(
    locked: httpx.Client, keys: dict[Scope, str], folder: Path
) -> None:
    audit = folder / "audit.jsonl"
    locked.get("/v1/index", headers=bearer(keys["search"]))
    audit.rename(folder / "audit.1")
    locked.get("/v1/index", headers=bearer(keys["search"]))
    assert len(audit.read_text().splitlines()) == 1


CROSS_SITE: list[tuple[dict[str, str], tuple[int, str]]] = [
    ({"Host": "evil.example"}, (421, "wrong_host")),
    ({"Host": "127.0.0.1.evil.example"}, (421, "wrong_host")),
    ({"Host": ""}, (421, "wrong_host")),
    ({"Host": "[::1"}, (421, "wrong_host")),
    ({"Origin": "https://evil.example"}, (403, "cross_site")),
    ({"Origin": "null"}, (403, "cross_site")),
    ({"Origin": "http://localhost:1"}, (403, "cross_site")),
    ({"Sec-Fetch-Site": "cross-site"}, (403, "cross_site")),
    ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, (403, "cross_site")),
]


@pytest.mark.parametrize(("headers", "expected"), CROSS_SITE)
def test_a_page_of_another_site_reaches_nothing(
    client: httpx.Client, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    body = {"where": "TRUE"}
    assert error_of(client.post("/v1/faces/list", json=body, headers=headers)) == expected
    if "Sec-Fetch-Site" not in headers:
        assert error_of(client.get("/v1/index", headers=headers)) == expected


def test_our_own_page_and_programs_are_answered(client: httpx.Client) -> None:
    port = client.base_url.port
    for headers in (
        {"Host": "localhost:1234"},
        {"Host": "LOCALHOST"},
        {"Host": f"[::1]:{port}"},
        {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    ):
        assert client.get("/v1/index", headers=headers).status_code == 200, headers
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=link).status_code == 200


def test_a_proxys_name_is_allowed_where_the_operator_says_so(
    small: tuple[Collection, Path], folder: Path, keys: dict[Scope, str]
) -> None:
    with serving(
        small[1],
        keys=folder / "keys.toml",
        allowed_hosts=("faces.example",),
        read_only=True,
    ) as client:
        headers = bearer(keys["search"]) | {"Host": "faces.example"}
        assert client.get("/v1/index", headers=headers).status_code == 200
        headers |= {"Origin": "https://faces.example"}
        assert client.get("/v1/index", headers=headers).status_code == 200


HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("path", ["/docs", "/livez", "/v1/index", "/nowhere", "/metrics"])
def test_every_answer_has_the_headers_of_security(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "server" not in answer.headers and "set-cookie" not in answer.headers


def test_the_documentation_loads_nothing_and_its_style_is_allowed(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert not re.search(r"<(script|img|link|iframe)|src=|@import|url\(", page.text)
    style = re.search(r"<style>(.*)</style>", page.text, re.DOTALL)
    assert style
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]


def test_a_read_only_service_writes_nothing_and_has_no_jobs(
    small: tuple[Collection, Path], folder: Path
) -> None:
    before = {path.name for path in folder.iterdir()}
    with serving(small[1], read_only=True) as client:
        assert client.get("/v1/index").status_code == 200
        answer = client.post("/v1/index/verify")
        assert error_of(answer) == (409, "no_jobs")
    assert before == {path.name for path in folder.iterdir()}


def test_one_state_belongs_to_one_service(client: httpx.Client, small: Any) -> None:
    with pytest.raises(BusyError):
        Service.open(ServiceOptions(small[1]))
