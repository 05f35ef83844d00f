// Requests to the service that this page came from, and to no other.

import { keyHeaders } from "./session.js";

const MAX_TRIES = 4;

/** An error that the service has answered, or that there was no answer (status 0). */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let onKeyNeeded = () => {};

/** Name what is called when the service asks for a key. */
export function whenKeyNeeded(action) {
  onKeyNeeded = action;
}

/** Return the JSON that GET answers. */
export async function get(path, { query, signal } = {}) {
  return (await send("GET", withQuery(path, query), { signal })).json();
}

/** Return the JSON that POST answers to JSON, or to a form of photos. */
export async function post(path, body, { query, signal, once = false } = {}) {
  const headers = once ? { "Idempotency-Key": newKey() } : {};
  const isForm = body instanceof FormData;
  if (!isForm) headers["Content-Type"] = "application/json";
  const content = isForm ? body : JSON.stringify(body ?? {});
  return (await send("POST", withQuery(path, query), { headers, body: content, signal })).json();
}

/** Return the response of GET with a picture. */
export function getPicture(path, { signal } = {}) {
  return send("GET", path, { signal });
}

/**
 * Follow a job until it has ended.
 *
 * Server-sent events are read from a plain request, as EventSource sends no key.
 *
 * @param {string} jobId id of the job.
 * @param {(job: object) => void} onJob called with the job whenever something about it changes.
 * @param {AbortSignal} signal ends it.
 */
export async function follow(jobId, onJob, signal) {
  const response = await send("GET", `/v1/jobs/${jobId}/events`, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) onJob(JSON.parse(data.slice("data: ".length)));
    }
  }
}

async function send(method, path, { headers = {}, body, signal } = {}) {
  for (let tries = 1; ; tries += 1) {
    let response;
    try {
      response = await fetch(path, {
        method,
        body,
        signal,
        headers: { ...headers, ...keyHeaders() },
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "no_answer", "the server does not answer");
    }
    if (response.ok) return response;
    const isBusy = response.status === 429 || response.status === 503;
    if (isBusy && response.headers.has("Retry-After") && tries < MAX_TRIES) {
      await pause(1000 * Number(response.headers.get("Retry-After")) || 1000, signal);
      continue;
    }
    const error = await errorOf(response);
    if (error.status === 401) onKeyNeeded();
    throw error;
  }
}

async function errorOf(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.code, error.message);
  } catch {
    return new ApiError(response.status, "no_answer", response.statusText);
  }
}

function withQuery(path, query) {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined);
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** Return a name for a request, so that it is done once however often it is sent. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
