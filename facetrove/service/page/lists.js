// Long lists, which are loaded as one scrolls, and grids in which the arrow keys move.

import { button, fill, h } from "./dom.js";
import { errorText, t } from "./i18n.js";

/**
 * Fill a list piece by piece, as its end comes into sight.
 *
 * @param {HTMLElement} list the list.
 * @param {(after: any) => Promise<{items: Array, next: any}>} load gives a piece: what is after a
 *   place, and the next place; null: there is no more.
 * @param {(item: object) => Node} draw gives the element of an item.
 * @param {object} options `signal` ends it; `empty` is told where there is nothing.
 * @returns {Node} the list with its end, a button that loads more for those who do not scroll.
 */
export function endless(list, load, draw, { signal, empty = t("nothing") }) {
  const more = button(t("more"), () => loadMore(), { kind: "quiet" });
  const end = h("div.end", { hidden: true }, more);
  const note = h("p.muted", { role: "status" });
  let after = null;
  let isLoading = false;

  async function loadMore() {
    if (isLoading) return;
    isLoading = true;
    fill(note, t("waiting"));
    try {
      const { items, next } = await load(after);
      if (signal.aborted) return;
      list.append(...items.map(draw));
      after = next;
      end.hidden = next === null || next === undefined;
      fill(note, list.childElementCount ? "" : empty);
    } catch (error) {
      if (error.name === "AbortError") return;
      end.hidden = false;
      fill(note, errorText(error));
      return;
    } finally {
      isLoading = false;
    }
    if (!end.hidden) {
      // Observed anew, so that an end that is still in sight is told again.
      observer.unobserve(end);
      observer.observe(end);
    }
  }

  const observer = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) loadMore();
  }, { rootMargin: "600px" });
  signal.addEventListener("abort", () => observer.disconnect());
  loadMore();
  return h("div", {}, list, note, end);
}

/** Let the arrow keys, Home and End move between the elements of a grid that a selector names. */
export function arrowKeys(grid, selector) {
  grid.addEventListener("keydown", (event) => {
    const from = event.target.closest(selector);
    if (!from || event.target.matches("input[type=text]")) return;
    const all = [...grid.querySelectorAll(selector)];
    const to = neighbour(all, all.indexOf(from), event.key);
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.scrollIntoView({ block: "nearest" });
  });
}

function neighbour(all, place, key) {
  const columns = numColumns(all);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (key === "Home") return all[0];
  if (key === "End") return all.at(-1);
  return key in steps ? all[place + steps[key]] : undefined;
}

function numColumns(all) {
  const top = all[0].getBoundingClientRect().top;
  const next = all.findIndex((one) => one.getBoundingClientRect().top > top + 1);
  return next < 0 ? all.length : next;
}
