"""How long the service takes to list people, to show one, and to decide, among many.

    python -m benchmarks.people_service --faces 1000000 --people 200000

The dataset is that of `benchmarks.people_book`. Server and client are one process, so that the
processor's time is that of both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.people_book import made_book, print_times, timed
from faces.core.machine import available_threads
from tests.support.service import serving

ROUNDS = 20

LISTS: dict[str, dict[str, Any]] = {
    "people with most faces": {},
    "people by name": {"order": "name"},
    "people with most doubtful faces": {"order": "doubts", "named": False},
    "people whose names begin so": {"name": "pers", "order": "name"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--decisions", type=int, default=1_000, help="decisions made before")
    options = parser.parse_args()
    print(" ".join(sys.orig_argv), f"({available_threads()} cores)")
    with tempfile.TemporaryDirectory() as folder:
        made_book(Path(folder), options.faces, options.people, options.decisions)
        with serving(Path(folder, "i")) as client:
            client.timeout = httpx.Timeout(600)  # the machine may be busy
            measure(client)
    print_times()


def measure(client: httpx.Client) -> None:
    def ask(what: str, method: str, path: str, body: Any = None) -> Any:
        answer = timed(what, partial(client.request, method, f"/v1/people/{path}", json=body))
        answer.raise_for_status()
        return answer.json()

    ask("first list: the roster is made", "POST", "list", {})
    ask("first questions: all embeddings are read", "GET", "questions")
    for number in range(ROUNDS):
        for what, query in LISTS.items():
            page = ask(what, "POST", "list", query)
            if page["next"]:
                ask(f"{what}, next page", "POST", "list", {**query, "after": page["next"]})
        one, other = 5 * number + 1, 5 * number + 2
        ask("a person", "GET", f"{one}")
        faces = ask("faces of a person", "GET", f"{one}/faces")["faces"]
        ask("who is in photos with a person", "GET", f"{one}/companions")
        ask("photos of a person", "POST", "photos", {"with": [one]})
        ask("questions", "GET", "questions")
        ask("history", "GET", "decisions")
        ids = [face["face_id"] for face in faces]
        ask("name", "POST", "name", {"person_id": one, "name": f"Zoe {number}"})
        ask("list after a decision", "POST", "list", {})
        ask("move", "POST", "move", {"person_id": other, "faces": ids[:2]})
        ask("confirm", "POST", "confirm", {"person_id": other})
        merge = ask("merge", "POST", "merge", {"people": [one, other]})
        undone = timed("undo", partial(client.post, "/v1/undo", json={"id": merge["decision_id"]}))
        undone.raise_for_status()


if __name__ == "__main__":
    main()
