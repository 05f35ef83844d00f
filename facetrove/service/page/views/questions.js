// "Same person?": two people at a time, first those where an answer matters most.

import { get } from "../api.js";
import { decide } from "../decisions.js";
import { button, fill, h } from "../dom.js";
import { number, t } from "../i18n.js";
import { faceImage } from "../images.js";
import { calledOf } from "../naming.js";
import { attempt } from "../notices.js";
import { addressOf } from "../router.js";
import { mayChange } from "../session.js";

const AT_ONCE = 20;

/** Ask whether people are the same, until there is nothing to ask. */
export default async function questionsView({ signal }) {
  const asking = new Asking(signal);
  await asking.load();
  document.addEventListener("keydown", (event) => asking.onKey(event), { signal });
  return asking.element;
}

class Asking {
  constructor(signal) {
    this.signal = signal;
    this.skipped = new Set();
    this.questions = [];
    this.isBusy = false;
    this.place = h("div", { "aria-live": "polite" });
    this.element = h("section", {}, h("h1", {}, t("questions.title")), this.place);
  }

  async load() {
    const { questions } = await get("/v1/people/questions", { query: { k: AT_ONCE + this.skipped.size }, signal: this.signal });
    this.questions = questions.filter((question) => !this.skipped.has(nameOf(question)));
    this.draw();
  }

  draw() {
    const [question] = this.questions;
    if (!question) {
      fill(this.place, h("p", {}, t("questions.none")), h("p", {}, h("a", { href: addressOf("people") }, t("people.title"))));
      return;
    }
    const may = mayChange("curate");
    const answer = (how) => attempt(() => this.answer(how));
    fill(this.place,
      h("p.muted", {}, t("questions.similarity", { similarity: number(question.similarity, 2) })),
      h("div.question", {}, sideOf(question.one, question.one_faces), sideOf(question.other, question.other_faces)),
      h("div.buttons", {},
        may && button(t("questions.yes"), answer("yes"), { kind: "primary", "aria-keyshortcuts": "y" }),
        may && button(t("questions.no"), answer("no"), { "aria-keyshortcuts": "n" }),
        button(t("questions.skip"), answer("skip"), { kind: "quiet", "aria-keyshortcuts": "s" }),
        h("span.muted", {}, t("questions.left", { n: this.questions.length }))));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    if (document.querySelector("dialog[open]")) return;
    const how = { y: "yes", j: "yes", n: "no", s: "skip" }[event.key];
    if (how && this.questions.length && (how === "skip" || mayChange("curate"))) attempt(() => this.answer(how))();
  }

  /** Answer the question that is shown: "yes", "no" or "skip". */
  async answer(how) {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      const [question] = this.questions;
      const [one, other] = keptFirst(question);
      if (how === "yes") await decide("merge", { people: [one, other] }, t("people.merged", { n: 2 }));
      else if (how === "no") await decide("separate", { one, other }, t("people.separated"));
      else this.skipped.add(nameOf(question));
      // Whoever was merged is another person in the questions that follow.
      const isStale = (next) => how === "yes" && [next.one.person_id, next.other.person_id].some((id) => id === one || id === other);
      this.questions = this.questions.slice(1).filter((next) => !isStale(next));
    } finally {
      this.isBusy = false;
    }
    if (this.questions.length) this.draw();
    else await this.load();
  }
}

/** The one with a name is kept, else the one with more faces. */
function keptFirst({ one, other }) {
  const isOther = Boolean(other.person) > Boolean(one.person) || (Boolean(other.person) === Boolean(one.person) && other.num_faces > one.num_faces);
  return isOther ? [other.person_id, one.person_id] : [one.person_id, other.person_id];
}

function nameOf({ one, other }) {
  return `${one.person_id} ${other.person_id}`;
}

function sideOf(person, faces) {
  return h("section", {},
    h("h2", {}, h("a", { href: addressOf("person", person.person_id) }, calledOf(person))),
    h("p.muted", {}, t("people.faces", { n: person.num_faces })),
    h("ul.grid", {}, faces.map((face) => h("li", {}, faceImage(face, "", 240)))));
}
