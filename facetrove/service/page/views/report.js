// What a job did: for purges the whole report, which can be kept.

import { h } from "../dom.js";
import { named, number, t } from "../i18n.js";

/** Return what a job did, in words and figures; null where there is nothing to say. */
export function reportOf(job) {
  const result = job.result ?? {};
  if (job.kind === "enrol") {
    return h("p", {}, t("report.enrol", { n: result.embedded?.done?.num_photos ?? 0, faces: result.index?.num_faces ?? 0 }));
  }
  if (job.kind === "delete") return h("p", {}, t("delete.done", { n: result.num_faces }));
  return h("details", {}, h("summary", {}, t("report.title")), tableOf(result),
    job.kind === "purge" && h("p", {}, saveLink(job)));
}

function saveLink(job) {
  const text = JSON.stringify({ job_id: job.job_id, finished: job.finished, ...job.result }, null, 1);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  return h("a", { href: url, download: `purge-${job.job_id}.json` }, t("report.save"));
}

/** Return a document as a table of names and values; lists and documents in it are told whole. */
function tableOf(document) {
  const rows = Object.entries(document).map(([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, named("result", name)), h("td", {}, cellOf(value))));
  return h("table.report", {}, h("tbody", {}, rows));
}

function cellOf(value) {
  if (value === null) return t("none");
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.length > 20 ? t("report.values", { n: value.length }) : value.map((one) => (typeof one === "object" ? tableOf(one) : String(one))).flatMap((one, place) => (place ? [", ", one] : [one]));
  return typeof value === "object" ? tableOf(value) : String(value);
}
