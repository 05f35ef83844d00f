"""What stands against a decision: why people cannot be merged, or a decision not be taken back."""

from __future__ import annotations

from collections.abc import Sequence

from faces.dataset.people_book import PeopleView, decisions_in_words, shown_person
from faces.dataset.people_decisions import Decision, id_of, new_key, time_of
from faces.dataset.people_rules import PeopleState, resolve_people


def reason_against_merge(view: PeopleView, decision: Decision) -> str | None:
    """Return why people cannot be merged, as the end of a sentence; None: they can.

    Args:
        view: what the people book says.
        decision: the merge, which does not stand in the book yet.
    """
    reason = _contradiction(view, view.state.extended([decision]))
    if reason is not None:
        return f"somebody said that they are not one: {reason}"
    return _reason_against_faces(view, decision.people)


def reason_against_undo(view: PeopleView, decision: Decision) -> str | None:
    """Return why a decision cannot be taken back, as the end of a sentence; None: it can.

    Args:
        view: what the people book says.
        decision: a decision of the book.
    """
    if decision.key not in view.state.in_force:
        return "has been taken back already"
    resting = _resting_on(view, decision)
    if resting:
        return (
            f"made person {decision.people[1]}, whom later decisions are about; take these back "
            f"first: {decisions_in_words(resting, view)}"
        )
    if not _may_make_others_contradict(view, decision):
        return None
    key = new_key(max(d.key for d in view.seen.decisions))
    undo = Decision(id_of(key), time_of(key), "", "undo", undoes=decision.decision_id)
    reason = _contradiction(view, resolve_people([*view.seen.decisions, undo]))
    if reason is None:
        return None
    return f"cannot be taken back: these decisions would contradict each other then: {reason}"


def merged_by(view: PeopleView, person: int) -> str:
    """Return by which decisions a person was merged, as the end of a sentence."""
    keys = [
        decision.key
        for decision in view.seen.decisions
        if decision.verb == "merge"
        and decision.key in view.state.in_force
        and view.state.root(decision.people[0]) == person
    ]
    return f", merged by {decisions_in_words(keys, view)}" if keys else ""


def _may_make_others_contradict(view: PeopleView, decision: Decision) -> bool:
    """Return whether decisions may contradict each other without one of them.

    Fewer people who are one, or who are apart, contradict nothing. So only what has no effect yet
    can: a decision that is void, or the one that an undo has taken back.
    """
    brought_back = decision.verb == "undo"
    while decision.verb == "undo" and decision.undoes in view.by_id:
        decision = view.by_id[decision.undoes]
    if decision.verb not in ("merge", "apart", "split"):
        return False
    if view.state.void:
        return True
    roots = set(map(view.state.root, decision.people))
    if decision.verb == "merge":
        apart = (view.state.apart.get(root, {}).keys() for root in roots)
        return brought_back and any(not roots.isdisjoint(others) for others in apart)
    return brought_back and len(roots) < len(decision.people)


def _contradiction(view: PeopleView, state: PeopleState) -> str | None:
    """Return which decisions contradict each other in a state, and do not in that of the book."""
    new = state.void.keys() - view.state.void.keys()
    if not new:
        return None
    void = min(new)
    known = {decision.key for decision in view.seen.decisions}
    keys = [key for key in (state.void[void], void) if key in known]
    return (
        f"{decisions_in_words(keys, view)}; `facetrove undo {view.model.folder.path} ID` takes "
        "such a decision back"
    )


def _reason_against_faces(view: PeopleView, numbers: Sequence[int]) -> str | None:
    """Return which face is one of some people's, by a human, and not another's."""
    raw = [number for person in numbers for number in view.state.numbers(person)]
    merged = set(raw)
    placed = view.model.query_many(
        "SELECT r.face, p.person, r.person, r.key FROM rejected r JOIN placed p USING (face) "
        "WHERE r.person IN (*)",
        raw,
    )
    for face, person, other, key in placed:
        roots = view.state.root(person), view.state.root(other)
        if person in merged and roots[0] != roots[1]:
            return (
                f"face {face} is of {shown_person(view, roots[0])} and not of "
                f"{shown_person(view, roots[1])}, by decision {decisions_in_words([key], view)}; "
                "take it back first"
            )
    return None


def _resting_on(view: PeopleView, decision: Decision) -> list[str]:
    """Return the keys of later decisions about the person whom a split made."""
    if decision.verb != "split":
        return []
    made = decision.people[1]
    return [
        later.key
        for later in view.seen.decisions
        if later.key > decision.key and made in later.people and later.key in view.state.in_force
    ]
