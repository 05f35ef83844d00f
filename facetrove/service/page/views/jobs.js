// Jobs, with how far they are, as long as one looks.

import { follow, get, post } from "../api.js";
import { button, fill, h } from "../dom.js";
import { moment, t } from "../i18n.js";
import { forgetImages } from "../images.js";
import { kindOf, progressBar, progressText } from "../jobs.js";
import { attempt } from "../notices.js";
import { reportOf } from "./report.js";

const SHOWN = 20;
const ENDED = ["done", "failed", "cancelled"];

/**
 * Return the section of jobs.
 *
 * @returns {Promise<{element: Node, watch: (job: object) => void}>} the section, and what adds a
 *   job that has been begun.
 */
export async function jobsSection(signal) {
  const list = h("ul.jobs");
  const nothing = h("p.muted", {}, t("job.nothing"));
  const watch = (job) => {
    nothing.hidden = true;
    const row = h("li.job", { "data-job": job.job_id, "data-state": job.state });
    list.prepend(row);
    drawJob(row, job, watch);
    if (!ENDED.includes(job.state)) followJob(row, job, watch, signal);
  };
  const { jobs } = await get("/v1/jobs", { query: { limit: SHOWN }, signal });
  jobs.toReversed().forEach(watch);
  nothing.hidden = jobs.length > 0;
  return { element: h("section", {}, h("h2", {}, t("job.title")), nothing, list), watch };
}

async function followJob(row, job, watch, signal) {
  try {
    await follow(job.job_id, (news) => drawJob(row, news, watch), signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(row.querySelector(".progress-text"), t("job.not_followed"));
  }
}

function drawJob(row, job, watch) {
  const isEnded = ENDED.includes(job.state);
  if (isEnded && ["purge", "delete"].includes(job.kind)) forgetImages();
  row.dataset.state = job.state;
  const cancel = attempt(() => post(`/v1/jobs/${job.job_id}/cancel`));
  const retry = attempt(async () => {
    row.remove();
    watch(await post(`/v1/jobs/${job.job_id}/retry`));
  });
  fill(row,
    h("div.job-head", {}, h("strong", {}, kindOf(job)), h("time.muted", { datetime: job.created }, moment(job.created)),
      !isEnded && button(t("job.cancel"), cancel, { kind: "quiet" }),
      ["failed", "cancelled"].includes(job.state) && button(t("again"), retry, { kind: "quiet" })),
    h(job.state === "failed" ? "p.progress-text.error-text" : "p.progress-text", { role: isEnded ? null : "status" }, progressText(job)),
    progressBar(job),
    job.state === "done" && reportOf(job));
}
