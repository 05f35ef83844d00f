// The collection: what it holds, photos to add, jobs, what was not taken, calibration, deletions.

import { get } from "../api.js";
import { h } from "../dom.js";
import { errorText, t } from "../i18n.js";
import { allows, me, mayChange } from "../session.js";
import { addSection } from "./add.js";
import { deletionsSection } from "./deletions.js";
import { jobsSection } from "./jobs.js";
import { ratesSection } from "./rates.js";
import { leftOutSection, stateSection } from "./state.js";

/** Show the collection, as much of it as the key allows. */
export default async function collectionView({ signal }) {
  const jobs = me().jobs ? await jobsSection(signal) : null;
  const counts = allows("search") ? await countsOf(signal) : null;
  const watch = (job) => jobs.watch(job);
  return h("section.collection", {},
    h("h1", {}, t("tab.collection")),
    allows("search") && (await shown(stateSection(counts, signal))),
    !me().jobs && h("p.notice-box", {}, t("collection.read_only")),
    mayChange("enrol") && addSection(watch),
    jobs?.element,
    counts && leftOutSection(counts, signal),
    allows("search") && (await shown(ratesSection(signal, watch))),
    mayChange("curate") && (await shown(deletionsSection(signal, watch))));
}

/** Return how many photos there are; null: the dataset is not here, or cannot be read. */
async function countsOf(signal) {
  try {
    return await get("/v1/collection", { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

/** Return a section, or where it cannot be had, why: the others are shown all the same. */
async function shown(section) {
  try {
    return await section;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return h("p.notice-box", { role: "status" }, errorText(error));
  }
}
