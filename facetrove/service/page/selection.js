// What is selected in a grid, by mouse or keyboard, and what can be done with it: a bar at the foot.

import { button, fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { attempt } from "./notices.js";

/** The selected things of a grid, each with its tick. */
export class Selection {
  /**
   * @param {(chosen: Array<object>) => Array<[string, string, Function]>} actions text, kind and
   *   effect of what can be done with what is selected.
   */
  constructor(actions) {
    this.actions = actions;
    this.chosen = new Map();
    this.bar = h("div.selection", { role: "region", "aria-label": t("people.selected", { n: 0 }), hidden: true });
    this.last = null;
  }

  /** What is selected, in the order in which it was. */
  get items() {
    return [...this.chosen.values()].map(({ item }) => item);
  }

  /** Return the tick of a thing; with Shift, all up to the last one that was ticked are ticked. */
  tick(item, label) {
    const box = h("input", { type: "checkbox", "aria-label": label, onclick: (event) => {
      if (event.shiftKey && this.last) this.#range(box);
      this.last = box;
    }, onchange: () => this.#set(box, item) });
    box.item = item;
    return h("label.pick", {}, box);
  }

  /** Select nothing. */
  clear() {
    for (const { box } of this.chosen.values()) box.checked = false;
    this.chosen.clear();
    this.#draw();
  }

  /** Let Escape clear the selection, and Ctrl+A select all that is loaded, while a view is shown. */
  listen(signal) {
    document.addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]") || event.target.matches("input[type=text], input[type=search]")) return;
      if (event.key === "Escape") this.clear();
      if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#boxes().forEach((box) => this.#check(box));
      }
    }, { signal });
  }

  #boxes() {
    return [...document.querySelectorAll("#main .pick input")];
  }

  #range(box) {
    const boxes = this.#boxes();
    const [from, to] = [boxes.indexOf(this.last), boxes.indexOf(box)].sort((one, other) => one - other);
    if (from >= 0) boxes.slice(from, to + 1).forEach((one) => this.#check(one));
  }

  #check(box) {
    box.checked = true;
    this.#set(box, box.item);
  }

  #set(box, item) {
    if (box.checked) this.chosen.set(item, { item, box });
    else this.chosen.delete(item);
    this.#draw();
  }

  #draw() {
    const { items } = this;
    this.bar.hidden = items.length === 0;
    const buttons = this.actions(items).map(([text, kind, act]) => button(text, attempt(() => act(items)), { kind }));
    fill(this.bar, h("strong", { role: "status" }, t("people.selected", { n: items.length })), buttons,
      button(t("people.clear"), () => this.clear(), { kind: "quiet" }));
  }
}
