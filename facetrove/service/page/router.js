// Addresses of the page: what follows the # in the browser's address, which no server is sent.

import { ApiError } from "./api.js";
import { errorText, t } from "./i18n.js";
import { fill, h } from "./dom.js";
import { allows } from "./session.js";

const LOADERS = {
  search: () => import("./views/search.js"),
  photo: () => import("./views/photo.js"),
  people: () => import("./views/people.js"),
  person: () => import("./views/person.js"),
  questions: () => import("./views/questions.js"),
  together: () => import("./views/together.js"),
  history: () => import("./views/history.js"),
  collection: () => import("./views/collection.js"),
};

let current = null;
let main = null;

/** Return the address of a view, with values in its query. */
export function addressOf(view, id = "", query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== "");
  const path = id === "" ? `#/${view}` : `#/${view}/${id}`;
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** Go to a view. */
export function go(view, id, query) {
  location.hash = addressOf(view, id, query);
}

/** Show views in an element, whenever the address changes. */
export function startRouter(element) {
  main = element;
  addEventListener("hashchange", () => show());
  return show();
}

/** Show the view again, as something has changed. */
export function reload() {
  return show({ keepsFocus: true });
}

/** Return the name of the view that is shown. */
export function currentView() {
  return placeOf(location.hash).view;
}

function placeOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [view, id = ""] = path.split("/");
  // A key that may not search may still add photos and see its jobs.
  const known = view in LOADERS ? view : "search";
  return { view: allows("search") ? known : "collection", id, query: new URLSearchParams(query) };
}

async function loaded(name) {
  try {
    return (await LOADERS[name]()).default;
  } catch (error) {
    // A file of the page that cannot be had; anything else is ours to mend.
    if (error instanceof TypeError) throw new ApiError(0, "no_answer", error.message);
    throw error;
  }
}

async function show({ keepsFocus = false } = {}) {
  current?.abort();
  const controller = new AbortController();
  current = controller;
  const place = placeOf(location.hash);
  dispatchEvent(new CustomEvent("facetrove:view", { detail: place.view }));
  let shown;
  try {
    const view = await loaded(place.view);
    if (!keepsFocus) fill(main, h("p.waiting", { role: "status" }, t("waiting")));
    shown = await view({ ...place, signal: controller.signal });
  } catch (error) {
    if (controller.signal.aborted) return;
    shown = h("section", {}, h("h1", { tabindex: "-1" }, t("error.title")), h("p", { role: "alert" }, errorText(error)));
  }
  if (controller.signal.aborted) return;
  fill(main, shown);
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} - facetrove` : "facetrove";
  if (keepsFocus) return;
  scrollTo(0, 0);
  if (heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
}
