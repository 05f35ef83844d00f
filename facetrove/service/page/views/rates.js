// How often strangers match, by similarity: a curve, and its measuring.

import { get, post } from "../api.js";
import { button, choice, h, labelled, svg } from "../dom.js";
import { askDialog } from "../dialogs.js";
import { moment, number, strangersInWords, t } from "../i18n.js";
import { attempt } from "../notices.js";
import { allows, mayChange } from "../session.js";

const WIDTH = 640;
const HEIGHT = 300;
const LEFT = 92;
const BOTTOM = 44;
const RIGHT = 16;
const TOP = 16;

/** Return the section about calibration; `watch` is called with the jobs that it begins. */
export async function ratesSection(signal, watch) {
  const rates = await get("/v1/index/rates", { signal });
  const isOwn = rates.fpir_basis === "index";
  return h("section", {}, h("h2", {}, t("rates.title")),
    h("p", {}, t(`basis.${rates.fpir_basis ?? "none"}`, { num_faces: rates.num_faces }), " ",
      rates.measured && t("rates.measured", { time: moment(rates.measured) })),
    rates.points.length > 0 && [plotOf(rates.points), tableOf(rates.points)],
    mayChange("admin") && h("div.buttons", {},
      button(isOwn ? t("rates.again") : t("rates.measure"), attempt(() => calibrate(watch)), { kind: isOwn ? "" : "primary" }),
      button(t("job.verify"), attempt(async () => watch(await post("/v1/index/verify", {}, { once: true })))),
      button(t("job.compact"), attempt(async () => watch(await post("/v1/index/compact", {}, { once: true }))))),
    !allows("admin") && !isOwn && h("p.muted", {}, t("rates.ask_admin")));
}

async function calibrate(watch) {
  let by = "labels";
  const ways = [["labels", t("rates.by_labels")], ["likeness", t("rates.by_likeness")]];
  const content = [h("p", {}, t("rates.explained")), labelled(t("rates.by"), choice(ways, by, (value) => {
    by = value;
  }))];
  if (await askDialog(t("rates.measure"), content, [["yes", t("rates.measure"), "primary"]])) {
    watch(await post("/v1/index/calibrate", { by_likeness: by === "likeness" }, { once: true }));
  }
}

/** Return a curve: similarity across, share of searches for strangers up, by its logarithm. */
function plotOf(points) {
  const lowest = Math.min(...points.map((point) => point.fpir));
  const decades = Math.max(1, Math.ceil(-Math.log10(lowest)));
  const x = (similarity) => LEFT + ((similarity + 0.1) / 1.1) * (WIDTH - LEFT - RIGHT);
  const y = (fpir) => TOP + (-Math.log10(fpir) / decades) * (HEIGHT - TOP - BOTTOM);
  const path = points.map((point, place) => `${place ? "L" : "M"}${x(point.similarity).toFixed(1)} ${y(point.fpir).toFixed(1)}`);
  const rows = Array.from({ length: decades + 1 }, (_, decade) => 10 ** -decade);
  const columns = [0, 0.2, 0.4, 0.6, 0.8, 1];
  return h("figure.plot", {}, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": t("rates.plot") },
    rows.map((rate) => [
      svg("line.grid-line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(rate), y2: y(rate) }),
      svg("text.tick", { x: LEFT - 8, y: y(rate) + 4, "text-anchor": "end" }, rate === 1 ? t("rates.all") : t("rates.one_in", { all: Math.round(1 / rate) })),
    ]),
    columns.map((similarity) => [
      svg("line.grid-line", { x1: x(similarity), x2: x(similarity), y1: TOP, y2: HEIGHT - BOTTOM }),
      svg("text.tick", { x: x(similarity), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, number(similarity, 1)),
    ]),
    svg("path.curve", { d: path.join("") }),
    svg("text.tick", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, t("similarity"))),
  h("figcaption.muted", {}, t("rates.plot")));
}

/** Return the same as a table, for those who do not see the curve. */
function tableOf(points) {
  const some = points.filter((point) => Math.round(point.similarity * 100) % 10 === 0 && point.similarity >= 0);
  return h("details", {}, h("summary", {}, t("rates.table")),
    h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("similarity")), h("th", { scope: "col" }, t("rates.strangers")))),
      h("tbody", {}, some.map((point) => h("tr", {}, h("td", {}, number(point.similarity, 1)), h("td", {}, strangersInWords(point.strangers)))))));
}
