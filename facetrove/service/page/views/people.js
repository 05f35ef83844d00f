// People: everybody whom the collection shows, to be named, merged, hidden and ignored.

import { post } from "../api.js";
import { decide } from "../decisions.js";
import { button, choice, fill, h, labelled } from "../dom.js";
import { askDialog } from "../dialogs.js";
import { t } from "../i18n.js";
import { faceImage } from "../images.js";
import { arrowKeys, endless } from "../lists.js";
import { calledOf, namePeople } from "../naming.js";
import { attempt } from "../notices.js";
import { addressOf, go } from "../router.js";
import { Selection } from "../selection.js";
import { mayChange } from "../session.js";

const AT_ONCE = 60;
const PAUSE_MILLISECONDS = 200;
const ORDERS = ["faces", "name", "doubts"];
const SHOWN = {
  all: {},
  named: { named: true },
  unnamed: { named: false },
  hidden: { only: "hidden", ignored: true },
  ignored: { only: "ignored", hidden: true },
};

// It outlives the view, so that one comes back to it from a person.
const state = { name: "", show: "all", order: "faces" };

/** Show the people. */
export default async function peopleView({ signal }) {
  const people = new PeopleView(signal);
  return h("section", {},
    h("h1", {}, t("people.title")),
    people.bar(),
    h("div.links", {},
      h("a.button", { href: addressOf("questions") }, t("people.questions")),
      h("a.button", { href: addressOf("together") }, t("people.together")),
      h("a.button", { href: addressOf("history") }, t("people.history")),
      mayChange("enrol") && button(t("people.group"), attempt(group))),
    people.count,
    people.place,
    people.may && people.selection.bar);
}

class PeopleView {
  constructor(signal) {
    this.signal = signal;
    this.may = mayChange("curate");
    this.selection = new Selection((chosen) => this.#actionsOn(chosen));
    this.selection.listen(signal);
    this.count = h("p.muted", { role: "status" });
    this.place = h("div");
    this.rows = new Map();
    this.drawing = null;
    this.#draw();
  }

  /** Return the fields that say who is listed, and in which order. */
  bar() {
    let timer = 0;
    const search = h("input", { type: "search", value: state.name, maxlength: 200, autocomplete: "off", oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#show({ name: search.value.trim() }), PAUSE_MILLISECONDS);
    } });
    const shown = Object.keys(SHOWN).map((name) => [name, t(`people.show.${name}`)]);
    const orders = ORDERS.map((name) => [name, t(`people.order.${name}`)]);
    const field = labelled(t("people.search"), search);
    field.classList.add("grow");
    return h("div.bar", {}, field,
      labelled(t("people.show"), choice(shown, state.show, (show) => this.#show({ show }))),
      labelled(t("people.order"), choice(orders, state.order, (order) => this.#show({ order }))));
  }

  #show(change) {
    Object.assign(state, change);
    this.#draw();
  }

  #draw() {
    this.drawing?.abort();
    const drawing = new AbortController();
    this.drawing = drawing;
    this.signal.addEventListener("abort", () => drawing.abort());
    this.selection.clear();
    this.rows.clear();
    const grid = h("ul.grid", { "aria-label": t("people.title") });
    arrowKeys(grid, "a.card-link");
    const load = async (after) => {
      const body = { ...SHOWN[state.show], name: state.name || null, order: state.order, limit: AT_ONCE, after };
      const page = await post("/v1/people/list", body, { signal: drawing.signal });
      fill(this.count, t("people.count", { n: page.num_people }));
      return { items: page.people, next: page.next };
    };
    const isAll = state.show === "all" && !state.name;
    const empty = isAll ? t("people.nobody_yet") : t("people.nobody");
    fill(this.place, endless(grid, load, (person) => this.#row(person), { signal: drawing.signal, empty }));
  }

  #row(person) {
    const row = h("li", {}, this.#card(person));
    this.rows.set(person.person_id, row);
    return row;
  }

  #card(person) {
    const name = () => attempt(() => this.#name([person]))();
    const keys = { " ": () => card.querySelector(".pick input").click(), n: name };
    const link = h("a.card-link", { href: addressOf("person", person.person_id), "aria-label": calledOf(person), onkeydown: (event) => {
      if (!this.may || !(event.key in keys) || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
    } },
    person.cover_face_id ? faceImage(person.cover_face_id, "", 240) : h("span.face"),
    (person.person || !this.may) && h("span.name", {}, calledOf(person)));
    const card = h("div.card", {}, link,
      !person.person && this.may && button(t("people.name_this"), name, { kind: "quiet" }),
      h("span.muted", {}, t("people.faces", { n: person.num_faces })),
      person.num_doubtful > 0 && h("span.badge.doubt", {}, t("people.doubtful", { n: person.num_doubtful })),
      person.conflict && h("span.badge.doubt", {}, t("people.conflict")),
      person.is_hidden && h("span.badge", {}, t("people.show.hidden")),
      person.is_ignored && h("span.badge", {}, t("people.show.ignored")),
      this.may && this.selection.tick(person, t("people.select", { name: calledOf(person) })));
    return card;
  }

  /** Show people as a decision leaves them: the others stay where they are. */
  #apply(people, decision) {
    if (!decision) return;
    this.selection.clear();
    const now = new Map(decision.people.map((person) => [person.person_id, person]));
    for (const id of new Set([...people.map((person) => person.person_id), ...now.keys()])) {
      const row = this.rows.get(id);
      if (!row) continue;
      const person = now.get(id);
      if (person && fits(person)) {
        fill(row, this.#card(person));
        row.querySelector("a").focus({ preventScroll: true });
      } else {
        (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("a").focus({ preventScroll: true });
        row.remove();
        this.rows.delete(id);
      }
    }
  }

  async #name(people) {
    this.#apply(people, await namePeople(people));
  }

  #actionsOn(people) {
    const ids = people.map((one) => one.person_id);
    const n = ids.length;
    const all = (flag) => people.every((one) => one[flag]);
    const decided = (verb, body, told) => async () => this.#apply(people, await decide(verb, body, told));
    const flagged = (verb, on, told) => decided(verb, { people: ids, on }, t(told, { n }));
    const actions = [[t("people.name"), "primary", () => this.#name(people)]];
    if (n > 1) {
      actions.push([t("people.merge"), "", async () => this.#apply(people, await merge(people))]);
      actions.push([t("people.together"), "", () => go("together", "", { with: ids.join(",") })]);
    }
    if (n === 2) actions.push([t("people.separate"), "", decided("separate", { one: ids[0], other: ids[1] }, t("people.separated"))]);
    actions.push(all("is_hidden")
      ? [t("people.unhide"), "", flagged("hide", false, "people.shown")]
      : [t("people.hide"), "", flagged("hide", true, "people.hidden")]);
    actions.push(all("is_ignored")
      ? [t("people.unignore"), "", flagged("ignore", false, "people.unignored")]
      : [t("people.ignore"), "", flagged("ignore", true, "people.ignored")]);
    return actions;
  }
}

/** Return whether a person is among those that are shown. */
function fits(person) {
  if (state.show === "hidden") return person.is_hidden;
  if (state.show === "ignored") return person.is_ignored;
  if (person.is_hidden || person.is_ignored || person.num_faces === 0) return false;
  return state.show === "all" || (state.show === "named") === (person.person !== null);
}

/** Ask which of the people is kept, and merge the others into that one. */
async function merge(people) {
  const named = people.find((one) => one.person) ?? people[0];
  const choices = people.map((one) => h("label.card", {},
    h("input", { type: "radio", name: "kept", value: String(one.person_id), checked: one === named }),
    one.cover_face_id && faceImage(one.cover_face_id, "", 160),
    h("span.name", {}, calledOf(one)), h("span.muted", {}, t("people.faces", { n: one.num_faces }))));
  const fields = h("fieldset.grid", {}, h("legend", {}, t("people.merge_text")), choices);
  const done = await askDialog(t("people.merge_title"), [fields], [["yes", t("people.merge"), "primary"]]);
  if (!done) return null;
  const kept = Number(fields.querySelector(":checked").value);
  const others = people.map((one) => one.person_id).filter((id) => id !== kept);
  return decide("merge", { people: [kept, ...others] }, t("people.merged", { n: people.length }));
}

async function group() {
  const ways = [["new", t("people.group_new")], ["all", t("people.group_all")]];
  let how = "new";
  const content = [h("p", {}, t("people.group_explained")), labelled(t("people.group"), choice(ways, how, (value) => {
    how = value;
  }))];
  if (!(await askDialog(t("people.group"), content, [["yes", t("people.group"), "primary"]]))) return;
  await post("/v1/people/group", { only_new: how === "new" }, { once: true });
  go("collection");
}
