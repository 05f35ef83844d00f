// Names: a field that completes names that there are, and what a name says of faces and people.

import { get, post } from "./api.js";
import { h, labelled, newId } from "./dom.js";
import { askDialog } from "./dialogs.js";
import { decide } from "./decisions.js";
import { t } from "./i18n.js";
import { attempt, tell } from "./notices.js";

const MAX_COMPLETED = 10;
const PAUSE_MILLISECONDS = 150;

/** A field for a name, which offers the names that begin like it. */
export class NameField {
  constructor(label, value = "") {
    const id = newId("names");
    this.options = h("datalist", { id });
    this.input = h("input", { type: "text", list: id, value, autocomplete: "off", maxlength: 200, autofocus: true, oninput: () => this.#complete() });
    this.element = h("div", {}, labelled(label, this.input), this.options);
    this.timer = 0;
  }

  /** The name that is written. */
  get name() {
    return this.input.value.trim();
  }

  #complete() {
    clearTimeout(this.timer);
    this.timer = setTimeout(attempt(async () => {
      if (!this.name) return;
      const people = await peopleNamed(this.name);
      this.options.replaceChildren(...people.map((one) => h("option", { value: one.person })));
    }), PAUSE_MILLISECONDS);
  }
}

/** Return people with names of which a word begins so, those with most faces first. */
async function peopleNamed(name) {
  const body = { name, named: true, hidden: true, ignored: true, order: "faces", limit: MAX_COMPLETED };
  return (await post("/v1/people/list", body)).people;
}

/** Return the person of exactly this name with most faces; undefined: there is none. */
export async function personNamed(name) {
  return (await peopleNamed(name)).find((one) => one.person === name);
}

/** Return how a person is called: by name, or by number. */
export function calledOf({ person, person_id: id }) {
  return person ?? t("people.number", { id: String(id) });
}

/**
 * Ask for a name for people, who become one person where there are several.
 *
 * @param {Array<object>} people the people.
 * @returns {Promise<?object>} the last decision; null: nothing was decided.
 */
export async function namePeople(people) {
  const known = people.find((one) => one.person)?.person ?? "";
  const field = new NameField(t("people.name_field"), known);
  const content = [field.element, people.length > 1 && h("p.muted", {}, t("people.name_many"))];
  if (!(await askDialog(t("people.name_title"), content, [["yes", t("people.name"), "primary"]]))) return null;
  const { name } = field;
  if (people.length > 1) return nameSeveral(people, name);
  const [one] = people;
  if (!name) {
    if (!one.person) return null;
    return decide("name", { person_id: one.person_id, name: null }, t("people.unnamed"));
  }
  const other = await personNamed(name);
  if (other && other.person_id !== one.person_id) return mergeOrName(one, other, name);
  return decide("name", { person_id: one.person_id, name }, t("people.named", { name }));
}

async function nameSeveral(people, name) {
  const first = people.find((one) => one.person === name) ?? people[0];
  const ids = [first, ...people.filter((one) => one !== first)].map((one) => one.person_id);
  const merged = await decide("merge", { people: ids }, t("people.merged", { n: ids.length }));
  if (!name || first.person === name) return merged;
  return decide("name", { person_id: first.person_id, name }, t("people.named", { name }));
}

async function mergeOrName(one, other, name) {
  const text = t("people.exists", { name, faces: other.num_faces });
  const answer = await askDialog(t("people.exists_title", { name }), [h("p", {}, text)],
    [["name", t("people.exists_name"), ""], ["merge", t("people.exists_merge"), "primary"]]);
  if (answer === "merge") return decide("merge", { people: [other.person_id, one.person_id] }, t("people.merged", { n: 2 }));
  return answer === "name" ? decide("name", { person_id: one.person_id, name }, t("people.named", { name })) : null;
}

/**
 * Ask whose face a face is.
 *
 * @param {object} face a face of the index.
 * @returns {Promise<?object>} the last decision; null: nothing was decided.
 */
export async function nameFace(face) {
  if (!face.person_id) return moveFaces([face.face_id], t("person.move_ungrouped"));
  const field = new NameField(t("people.name_field"), face.person ?? "");
  if (!(await askDialog(t("people.name_title"), [field.element], [["yes", t("people.name"), "primary"]]))) return null;
  const { name } = field;
  if (!name || name === face.person) return null;
  const other = await personNamed(name);
  const person = await get(`/v1/people/${face.person_id}`);
  if (!other) return decide("name", { person_id: face.person_id, name }, t("people.named", { name }));
  const which = await askDialog(t("people.name_title"), [h("p", {}, t("person.move_which", { name }))],
    [["face", t("person.move_face"), ""], ["person", t("person.move_person"), "primary"]]);
  if (which === "person") return mergeOrName(person, other, name);
  return which === "face"
    ? decide("move", { faces: [face.face_id], person_id: other.person_id }, t("person.moved", { n: 1 }))
    : null;
}

/** Ask to whom faces belong; return the decision, or null. */
export async function moveFaces(faceIds, note = "") {
  const field = new NameField(t("person.move_field"));
  const content = [note && h("p", {}, note), field.element];
  if (!(await askDialog(t("person.move_title"), content, [["yes", t("person.move"), "primary"]])) || !field.name) return null;
  const person = await personNamed(field.name);
  if (!person) {
    tell(t("person.move_unknown"), { isError: true });
    return null;
  }
  return decide("move", { faces: faceIds, person_id: person.person_id }, t("person.moved", { n: faceIds.length }));
}
