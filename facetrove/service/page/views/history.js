// The history: what was decided about people, by whom, and what can be taken back.

import { get } from "../api.js";
import { undo } from "../decisions.js";
import { button, h } from "../dom.js";
import { moment, named, t } from "../i18n.js";
import { endless } from "../lists.js";
import { attempt } from "../notices.js";
import { addressOf } from "../router.js";
import { mayChange } from "../session.js";

const AT_ONCE = 50;
const MAX_PEOPLE = 5;

/** Show what was decided, newest first. */
export default async function historyView({ signal }) {
  const list = h("ul.decisions");
  const load = async (after) => {
    const page = await get("/v1/people/decisions", { query: { limit: AT_ONCE, after }, signal });
    return { items: page.decisions, next: page.next };
  };
  return h("section", {}, h("h1", {}, t("history.title")), endless(list, load, rowOf, { signal, empty: t("history.none") }));
}

function rowOf(decision) {
  const { people, num_faces: numFaces, name, is_undone: isUndone } = decision;
  const links = people.slice(0, MAX_PEOPLE).map((id) => h("a", { href: addressOf("person", id) }, t("people.number", { id: String(id) })));
  const row = h(isUndone ? "li.undone" : "li", { "data-decision": decision.decision_id },
    h("div", {}, h("strong", {}, named("verb", decision.verb)), " ", name && `${name} `,
      links.flatMap((link, place) => (place ? [", ", link] : [link])),
      people.length > MAX_PEOPLE && " …",
      numFaces > 0 && ` · ${t("people.faces", { n: numFaces })}`),
    h("span.muted", {}, t("history.by", { author: decision.author, time: moment(decision.time) })));
  if (isUndone) row.append(h("span.badge", {}, t("history.undone")));
  else if (decision.can_be_undone && mayChange("curate")) {
    row.append(button(t("undo"), attempt(() => undo(decision.decision_id)), { kind: "quiet" }));
  } else if (decision.why_not) row.append(h("span.muted", {}, t("history.cannot", { why: decision.why_not })));
  return row;
}
