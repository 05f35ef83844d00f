// Dialogs, by the browser's own element, which keeps the focus inside and closes with Escape.

import { button, h, newId } from "./dom.js";
import { t } from "./i18n.js";

/**
 * Show a dialog until it is closed.
 *
 * @param {string} title its heading.
 * @param {Array} content what stands in it.
 * @param {Array<[string, string, string]>} actions value, text and kind of each button beside
 *   "Cancel"; the last is what Enter does.
 * @returns {Promise<?string>} the value of the button; null: it was closed.
 */
export function askDialog(title, content, actions = []) {
  const id = newId("dialog");
  const dialog = h("dialog", { "aria-labelledby": id });
  const buttons = actions.map(([value, text, kind], number) => {
    const isLast = number === actions.length - 1;
    const close = () => dialog.close(value);
    return h(`button.${kind || "plain"}`, { type: isLast ? "submit" : "button", onclick: isLast ? null : close }, text);
  });
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    dialog.close(actions.at(-1)?.[0] ?? "");
  } },
  h("h2", { id }, title),
  content,
  h("div.buttons", {}, button(actions.length ? t("cancel") : t("close"), () => dialog.close("")), buttons));
  dialog.append(form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    dialog.showModal();
  });
}

/** Ask whether to do something that cannot be seen at a glance; return whether to. */
export async function confirmed(title, text, action, kind = "primary") {
  return (await askDialog(title, [h("p", {}, text)], [["yes", action, kind]])) === "yes";
}
