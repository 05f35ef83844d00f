// Jobs: what changes the collection is queued, goes on without this page, and can be watched.

import { follow, get, post } from "./api.js";
import { h } from "./dom.js";
import { named, t } from "./i18n.js";
import { tell } from "./notices.js";

/** Return what a job does, in words. */
export function kindOf(job) {
  return named("job", job.kind);
}

/** Return how far a job is, in words. */
export function progressText(job) {
  const { progress } = job;
  if (job.state === "failed") return job.error ? t("job.failed_because", { message: job.error.message }) : named("state", job.state);
  if (job.state !== "running" || !progress) return named("state", job.state);
  const step = progress.step ?? "";
  return progress.total ? t("job.step_of", { step, done: progress.done, total: progress.total }) : t("job.step", { step });
}

/** Return a bar of how far a job is; null where it has ended. */
export function progressBar(job) {
  if (job.state === "queued" || job.state === "cancelling") return h("progress", { "aria-label": kindOf(job) });
  if (job.state !== "running") return null;
  const { done, total } = job.progress ?? {};
  return h("progress", { "aria-label": kindOf(job), ...(total ? { value: done, max: total } : {}) });
}

/**
 * Begin a job, and wait until it has ended.
 *
 * @param {() => Promise<object>} begin begins it.
 * @param {(job: object) => void} onprogress called as it goes on.
 * @returns {Promise<?object>} the job, done; null: it failed, which has been told.
 */
export async function runJob(begin, onprogress = () => {}) {
  let job = await begin();
  tell(`${kindOf(job)}: ${t("waiting")}`);
  await follow(job.job_id, (news) => {
    job = news;
    onprogress(job);
  });
  job = await get(`/v1/jobs/${job.job_id}`);
  if (job.state === "done") return job;
  tell(`${kindOf(job)}: ${progressText(job)}`, { isError: true });
  return null;
}

/** Begin to take a deletion back; return the job. */
export function undoDeletion(deletionId) {
  return post("/v1/undo", { id: deletionId }, { once: true });
}
