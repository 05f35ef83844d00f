"""Addresses of databases: what they mean, and that no secret is in one or comes out of one."""

from __future__ import annotations

import pytest

from faces.core.errors import WrongUsageError
from facetrove.export.addresses import Address


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("lancedb:/data/x", "lancedb:/data/x?table=faces"),
        ("lancedb:/data/./x?table=people", "lancedb:/data/x?table=people"),
        ("lancedb:s3://bucket/x", "lancedb:s3://bucket/x?table=faces"),
        ("postgres://host/db", "postgresql://host/db?table=faces"),
        (
            "postgresql://ann@host:5433/db?sslmode=verify-full&table=t",
            "postgresql://ann@host:5433/db?sslmode=verify-full&table=t",
        ),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg&table=faces"),
        ("milvus://host:19530/people", "milvus://host:19530/?table=people"),
        ("milvus:/data/m.db", "milvus:/data/m.db?table=faces"),
        ("qdrant://host/people?tls=true", "qdrant://host/?table=people&tls=true"),
    ],
)
def test_addresses_have_one_form(text: str, same: str) -> None:
    assert str(Address.parse(text)) == same
    assert str(Address.parse(same)) == same


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:hush77@host/db",
        "postgresql://ann:@host/db",
        "postgresql://host/db?password=hush77",
        "postgresql://host/db?table=faces&sslpassword=hush77",
        "postgresql://host/ann:hush77@db",
        "qdrant://:hush77@host/faces",
        "qdrant://host/faces?api_key=hush77",
        "milvus://root:hush77@host/faces",
        "milvus://host/faces?token=hush77",
        "lancedb:s3://key:hush77@bucket/x",
        "lancedb:az://bucket/x?sig=hush77",
        "redis://ann:hush77@host/0",
    ],
)
def test_a_secret_is_refused_and_not_printed(text: str) -> None:
    with pytest.raises(WrongUsageError) as refused:
        Address.parse(text)
    assert "hush77" not in str(refused.value)


@pytest.mark.parametrize(
    "table",
    ["", "a;b", 'a"b', "a b", "1a", "a.b", "é", "x" * 41, "faces; DROP TABLE x", "a\0"],
)
def test_names_of_tables_are_plain(table: str) -> None:
    for start in ("lancedb:/x", "postgresql://host/db", "qdrant://host"):
        with pytest.raises(WrongUsageError):
            Address.parse(f"{start}?table={table}")


@pytest.mark.parametrize(
    "text",
    [
        *("", "faces", "lancedb:", "mysql://h/d", "postgresql:/x", "postgresql://h/a/b"),
        *("postgresql://host:port/db", "postgresql://[::1/db", "milvus:http://x", "lancedb://x/y"),
        "qdrant://",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(WrongUsageError):
        Address.parse(text)
