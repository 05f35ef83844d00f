// What the page tells at its foot: for a few seconds, aloud for screen readers, with an undo.

import { button, fill, h } from "./dom.js";
import { errorText, t } from "./i18n.js";

const SECONDS = 10;

const region = h("div.notices", { role: "status", "aria-live": "polite" });
let timer = 0;

/** Return the element in which notices appear. */
export function noticeRegion() {
  return region;
}

/**
 * Tell something.
 *
 * @param {string} text what to tell.
 * @param {object} options `action` and `onaction`: text and effect of a button.
 */
export function tell(text, { action, onaction, isError = false } = {}) {
  const act = () => {
    clear();
    onaction();
  };
  const notice = h(isError ? "div.notice.error" : "div.notice", {},
    h("span", {}, text),
    action && button(action, act, { kind: "quiet" }),
    button("×", clear, { kind: "quiet", "aria-label": t("close") }));
  fill(region, notice);
  clearTimeout(timer);
  if (!isError) timer = setTimeout(clear, SECONDS * 1000);
}

/** Tell of an error, unless it is only that a view has been left. */
export function tellError(error) {
  if (error.name !== "AbortError") tell(errorText(error), { isError: true });
}

/** Return a listener that tells of the errors of an asynchronous action. */
export function attempt(action) {
  return async (...values) => {
    try {
      return await action(...values);
    } catch (error) {
      tellError(error);
      return undefined;
    }
  };
}

function clear() {
  clearTimeout(timer);
  region.replaceChildren();
}
