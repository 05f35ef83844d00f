// A person: the faces, the most doubtful first, to be confirmed, split off, rejected and moved.

import { get, post } from "../api.js";
import { decide } from "../decisions.js";
import { button, choice, fill, h, labelled } from "../dom.js";
import { confirmed } from "../dialogs.js";
import { day, t } from "../i18n.js";
import { faceImage, forgetImages } from "../images.js";
import { runJob } from "../jobs.js";
import { arrowKeys, endless } from "../lists.js";
import { calledOf, moveFaces, namePeople } from "../naming.js";
import { attempt, tell } from "../notices.js";
import { addressOf, go, reload } from "../router.js";
import { Selection } from "../selection.js";
import { mayChange } from "../session.js";
import { shortName } from "./cards.js";

const AT_ONCE = 60;
const DOUBTFUL = 0.1;
const MAX_COMPANIONS = 12;

/** Show the person of an address. */
export default async function personView({ id, signal }) {
  const person = await get(`/v1/people/${id}`, { signal });
  const { companions } = await get(`/v1/people/${person.person_id}/companions`, { query: { limit: MAX_COMPANIONS }, signal });
  const may = mayChange("curate");
  const rows = new Map();
  const head = h("div");
  const drawHead = async () => fill(head, headOf(await get(`/v1/people/${person.person_id}`, { signal }), may));
  const selection = new Selection((faces) => actionsOn(person, faces, apply));
  selection.listen(signal);
  let order = "doubt";
  const place = h("div");

  /** Show faces as a decision leaves them: confirmed, or not this person's any more. */
  async function apply(faces, decision) {
    if (!decision) return;
    selection.clear();
    for (const face of faces) {
      const row = rows.get(face.face_id);
      if (decision.verb === "confirm") fill(row, faceCard({ ...face, doubt: null, said_by: "human" }, selection, may));
      else row.remove();
    }
    if (place.querySelector("li")) await drawHead();
    else await reload();
  }

  const draw = () => {
    selection.clear();
    fill(place, facesOf(person, order, signal, (face) => {
      const row = h("li", {}, faceCard(face, selection, may));
      rows.set(face.face_id, row);
      return row;
    }));
  };
  draw();
  fill(head, headOf(person, may));
  const orders = ["doubt", "taken"].map((name) => [name, t(`person.order.${name}`)]);
  return h("section", {},
    head,
    h("div.chips", {}, h("span.muted", {}, t("person.companions")),
      companions.length ? companions.map((one) => companionChip(person, one)) : h("span.muted", {}, t("person.no_companions"))),
    h("div.bar", {}, h("h2.grow", {}, t("person.faces")), labelled(t("people.order"), choice(orders, order, (name) => {
      order = name;
      draw();
    }))),
    place,
    may && selection.bar);
}

function headOf(person, may) {
  const after = async (deciding) => {
    if (await deciding) await reload();
  };
  const flag = (verb, on, told) => attempt(() => after(decide(verb, { people: [person.person_id], on }, t(told, { n: 1 }))));
  return h("div.person-head", {},
    person.cover_face_id ? faceImage(person.cover_face_id, "", 240) : h("span"),
    h("div", {}, h("h1", {}, calledOf(person)),
      h("p.muted", {}, [
        t("people.faces", { n: person.num_faces }), t("people.photos", { n: person.num_photos }),
        person.first && t("person.dates", { first: day(person.first), last: day(person.last) }),
      ].filter(Boolean).join(" · ")),
      h("div.buttons", {},
        may && button(t("people.name"), attempt(() => after(namePeople([person]))), { kind: "primary" }),
        h("a.button", { href: addressOf("together", "", { with: person.person_id }) }, t("person.photos")),
        may && button(t("person.confirm_all"), attempt(() => confirmAll(person)))),
      may && h("details", {}, h("summary", {}, t("person.more")), h("div.buttons", {},
        person.is_hidden
          ? button(t("people.unhide"), flag("hide", false, "people.shown"))
          : button(t("people.hide"), flag("hide", true, "people.hidden")),
        person.is_ignored
          ? button(t("people.unignore"), flag("ignore", false, "people.unignored"))
          : button(t("people.ignore"), flag("ignore", true, "people.ignored")),
        button(t("delete.person"), attempt(() => deletePerson(person)), { kind: "danger" })))));
}

function companionChip(person, other) {
  const address = addressOf("together", "", { with: `${person.person_id},${other.person_id}` });
  return h("a.chip", { href: address }, calledOf(other), h("span.count", {}, String(other.num_photos)));
}

function facesOf(person, order, signal, draw) {
  const grid = h("ul.grid", { "aria-label": t("person.faces") });
  arrowKeys(grid, "a.card-link");
  const load = async (after) => {
    const query = { order, limit: AT_ONCE, after };
    const page = await get(`/v1/people/${person.person_id}/faces`, { query, signal });
    return { items: page.faces, next: page.next };
  };
  return endless(grid, load, draw, { signal });
}

function faceCard(face, selection, may) {
  const name = shortName(face.uri);
  const link = h("a.card-link", { href: addressOf("photo", face.photo_id, { face: face.face_id }), onkeydown: (event) => {
    if (event.key !== " " || !may) return;
    event.preventDefault();
    card.querySelector(".pick input").click();
  } }, faceImage(face.face_id, "", 240), h("span.muted", {}, name));
  const card = h("div.card", {}, link,
    face.doubt !== null && face.doubt >= DOUBTFUL && h("span.badge.doubt", {}, t("person.doubt")),
    face.said_by === "human" && h("span.badge", {}, t("person.confirmed")),
    may && selection.tick(face, t("person.face_select", { photo: name })));
  return card;
}

function actionsOn(person, faces, apply) {
  const ids = faces.map((face) => face.face_id);
  const body = { person_id: person.person_id, faces: ids };
  const n = ids.length;
  const decided = (verb, told) => async () => apply(faces, await decide(verb, body, t(told, { n })));
  const name = calledOf(person);
  return [
    [t("person.confirm", { name }), "primary", decided("confirm", "person.confirmed_faces")],
    [t("person.split"), "", decided("split", "person.split_done")],
    [t("person.reject", { name }), "", decided("reject", "person.rejected")],
    [t("person.move"), "", async () => apply(faces, await moveFaces(ids))],
  ];
}

async function confirmAll(person) {
  const text = t("person.confirm_all_text", { faces: person.num_faces });
  if (!(await confirmed(t("person.confirm_all"), text, t("person.confirm_all")))) return;
  await decide("confirm", { person_id: person.person_id, faces: [] }, t("person.confirmed_faces", { n: person.num_faces }));
  await reload();
}

async function deletePerson(person) {
  const where = `person_id = ${person.person_id}`;
  const { num_faces: count } = await post("/v1/delete/plan", { where });
  if (!(await confirmed(t("delete.title"), t("delete.many", { n: count }), t("delete"), "danger"))) return;
  const job = await runJob(() => post("/v1/delete", { where }, { once: true }));
  if (!job) return;
  forgetImages();
  tell(t("delete.done", { n: job.result.num_faces }), { action: t("delete.section"), onaction: () => go("collection") });
  go("people");
}
