"""What was decided about people, as tables."""

from __future__ import annotations

import pyarrow as pa

from faces.dataset.people_book import PeopleView

_DECISION_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("decision_id", "decided_at", "author", "verb")),
        ("people", pa.list_(pa.int64())),
        ("name", pa.string()),
        ("num_faces", pa.int64()),
        ("on", pa.bool_()),
        ("undoes", pa.string()),
    ]
)

_CONFLICT_SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("kind", "earlier_id", "earlier_author", "later_id", "later_author")
        ),
        ("people", pa.list_(pa.int64())),
        ("face_id", pa.string()),
    ]
)


def decisions_table(view: PeopleView) -> pa.Table:
    """Return a row for each decision that can be taken back; see `People.decisions`."""
    names = [name for name in _DECISION_SCHEMA.names if name != "num_faces"]
    rows = [
        {
            **{name: getattr(decision, name) for name in names},
            "num_faces": view.seen.num_faces[decision.key],
        }
        for decision in view.seen.decisions
        if decision.key in view.state.in_force
    ]
    return pa.Table.from_pylist(rows, schema=_DECISION_SCHEMA)


def conflicts_table(view: PeopleView) -> pa.Table:
    """Return a row for each contradiction between decisions; see `People.conflicts`."""
    rows = [
        {
            "kind": conflict.kind,
            "earlier_id": view.by_key[conflict.earlier].decision_id,
            "earlier_author": view.by_key[conflict.earlier].author,
            "later_id": view.by_key[conflict.later].decision_id,
            "later_author": view.by_key[conflict.later].author,
            "people": conflict.people,
            "face_id": conflict.face_id or None,
        }
        for conflict in view.conflicts()
    ]
    return pa.Table.from_pylist(rows, schema=_CONFLICT_SCHEMA)
