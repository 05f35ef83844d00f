// What people decide, and undo: every decision can be taken back, at once or from the history.

import { get, post } from "./api.js";
import { forgetImages } from "./images.js";
import { t } from "./i18n.js";
import { tell } from "./notices.js";
import { reload } from "./router.js";

/**
 * Decide something about people, and offer to undo it.
 *
 * @param {string} verb last part of the operation's address, such as "merge".
 * @param {object} body the operation's body.
 * @param {string} told what is told when it is done.
 * @returns {Promise<object>} the decision, with the people as they are now.
 */
export async function decide(verb, body, told) {
  const decision = await post(`/v1/people/${verb}`, body, { once: true });
  tell(told, { action: t("undo"), onaction: () => undo(decision.decision_id) });
  return decision;
}

/** Take a decision back, and show what is so now. */
export async function undo(decisionId) {
  await post("/v1/undo", { id: decisionId }, { once: true });
  forgetImages();
  tell(t("undo.done"));
  await reload();
}

/** Take back the newest decision that can be. */
export async function undoLast() {
  const { decisions } = await get("/v1/people/decisions", { query: { limit: 20 } });
  const last = decisions.find((one) => one.can_be_undone && !one.is_undone && one.verb !== "undo");
  if (last) await undo(last.decision_id);
  else tell(t("undo.nothing"));
}
