// What the collection holds, and what did not get into it.

import { get, post } from "../api.js";
import { button, h } from "../dom.js";
import { moment, named, number, t } from "../i18n.js";
import { endless } from "../lists.js";
import { allows } from "../session.js";

const LISTS = { rejected: "rejected", no_face: "no-face", copies: "copies", partly_read: "partly-read", passed_over: "passed-over" };
const AT_ONCE = 100;

/** Return the section that says how much there is. */
export async function stateSection(counts, signal) {
  const index = await get("/v1/index", { signal });
  const facts = [
    [t("state.faces"), number(index.num_faces)],
    [t("state.version"), `${index.version}, ${moment(index.created)}`],
    [t("state.models"), `${index.detector}, ${index.embedder}`],
  ];
  if (counts) facts.unshift([t("state.photos"), number(counts.num_photos)]);
  return h("section", { "aria-label": t("state.title") },
    h("dl.tiles", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

/** Return the section that says what was rejected and passed over, with its lists. */
export function leftOutSection(counts, signal) {
  const groups = groupsOf(counts);
  return h("section", {}, h("h2", {}, t("left_out.title")),
    groups.length
      ? groups.map(([name, rows]) => groupOf(name, rows, signal))
      : h("p.muted", {}, t("left_out.nothing")));
}

/** Return pairs of a list's name and its rows of what and how many, without lists of nothing. */
function groupsOf(counts) {
  const passedOver = Object.entries(counts.passed_over).flatMap(([kind, labels]) =>
    Object.entries(labels).map(([label, count]) => [`${named("passed_over", kind)} ${label}`, count]));
  const groups = [
    ["rejected", Object.entries(counts.by_reason).map(([reason, count]) => [named("reason", reason), count])],
    ["no_face", [[t("left_out.no_face"), counts.by_status.no_face ?? 0]]],
    ["copies", [[t("left_out.copies"), counts.num_copies]]],
    ["partly_read", Object.entries(counts.by_partly_read).map(([part, count]) => [named("partly_read", part), count])],
    ["passed_over", passedOver],
  ];
  return groups.map(([name, rows]) => [name, rows.filter(([, count]) => count)]).filter(([, rows]) => rows.length);
}

function groupOf(name, rows, signal) {
  const total = rows.reduce((sum, [, count]) => sum + count, 0);
  const list = h("ul.paths");
  const details = h("details", {},
    h("summary", {}, h("span", {}, t(`left_out.list.${name}`)), " ", h("span.count", {}, number(total))),
    h("ul.reasons", {}, rows.map(([what, count]) => h("li", {}, h("span", {}, what), h("span.count", {}, number(count))))));
  if (allows("enrol")) {
    const open = button(t("left_out.names"), () => {
      open.remove();
      details.append(endless(list, async (after) => {
        const body = { list: LISTS[name], limit: AT_ONCE, after: after ?? 0 };
        const { photos, next } = await post("/v1/collection/photos", body, { signal });
        return { items: photos, next };
      }, (photo) => h("li", {}, h("span.path", {}, photo.uri), photo.why && h("span.muted", {}, whyOf(name, photo.why))), { signal }));
    }, { kind: "quiet" });
    details.append(open);
  }
  return details;
}

function whyOf(list, why) {
  if (list === "rejected") return named("reason", why);
  if (list === "partly_read") return named("partly_read", why);
  if (list === "copies") return why.slice(0, 8);
  const [kind, ...label] = why.split(" ");
  return [named("passed_over", kind), ...label].join(" ");
}
