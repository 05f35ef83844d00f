// Deletions: by a condition, taken back, and made final with a report.

import { get, post } from "../api.js";
import { button, fill, h, labelled } from "../dom.js";
import { askDialog, confirmed } from "../dialogs.js";
import { Filters } from "../filters.js";
import { moment, t } from "../i18n.js";
import { attempt, tell } from "../notices.js";
import { allows, mayChange } from "../session.js";
import { undoDeletion } from "../jobs.js";

/** Return the section of deletions; `watch` is called with the jobs that it begins. */
export async function deletionsSection(signal, watch) {
  const { deletions } = await get("/v1/deletions", { signal });
  const rows = deletions.toReversed().map((deletion) => {
    const row = h("li", {}, h("span", {}, t("delete.done", { n: deletion.num_faces })),
      h("time.muted", { datetime: deletion.deleted_at }, moment(deletion.deleted_at)),
      button(t("delete.undo"), attempt(async () => {
        watch(await undoDeletion(deletion.deletion_id));
        row.remove();
      }), { kind: "quiet" }));
    return row;
  });
  return h("section", {}, h("h2", {}, t("delete.section")),
    h("p", {}, t("delete.explained")),
    rows.length ? h("ul.deletions", {}, rows) : h("p.muted", {}, t("delete.none")),
    allows("search") && (await deleteForm(watch, signal)),
    mayChange("admin") && h("div.buttons", {}, button(t("purge.title"), attempt(() => purge(watch)), { kind: "danger" })));
}

async function deleteForm(watch, signal) {
  const filters = new Filters();
  await filters.load(signal);
  const start = attempt(async () => {
    const { where } = filters;
    if (!where) {
      tell(t("delete.no_condition"));
      return;
    }
    const { num_faces: count } = await post("/v1/delete/plan", { where });
    if (!count) tell(t("search.none"));
    else if (await confirmed(t("delete.title"), t("delete.many", { n: count }), t("delete"), "danger")) {
      watch(await post("/v1/delete", { where }, { once: true }));
    }
  });
  const editor = h("div");
  fill(editor, filters.editor(() => {}));
  return h("details", {}, h("summary", {}, t("delete.by_condition")), editor,
    h("div.buttons", {}, button(t("delete.by_condition"), start, { kind: "danger" })));
}

async function purge(watch) {
  const names = h("textarea", { rows: 3, autocomplete: "off" });
  const content = [h("p", {}, t("purge.explained")), labelled(t("purge.names"), names)];
  if (await askDialog(t("purge.title"), content, [["yes", t("purge.title"), "danger"]])) {
    const lines = names.value.split("\n").map((line) => line.trim()).filter(Boolean);
    watch(await post("/v1/purge", { names: lines }, { once: true }));
  }
}
