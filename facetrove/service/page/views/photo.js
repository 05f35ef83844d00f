// A photo, large, with all its faces and their names.

import { get, post } from "../api.js";
import { button, h } from "../dom.js";
import { confirmed } from "../dialogs.js";
import { errorText, named, t } from "../i18n.js";
import { faceImage, forgetImages, loadPhoto } from "../images.js";
import { attempt, tell } from "../notices.js";
import { addressOf, go, reload } from "../router.js";
import { mayChange } from "../session.js";
import { runJob, undoDeletion } from "../jobs.js";
import { nameFace } from "../naming.js";
import { nameOf, shortName } from "./cards.js";
import { placeBox } from "./probe.js";

const SIDE = 1600;

/** Show the photo of an address: its id, and in the query the face to point out. */
export default async function photoView({ id, query, signal }) {
  const photo = await get(`/v1/photos/${id}`, { signal });
  const chosen = query.get("face");
  const faces = [...photo.faces].sort((one, other) => one.box.x - other.box.x);
  return h("section.photo-view", {},
    h("h1", {}, shortName(photo.uri)),
    h("div.photo-columns", {},
      await pictureOf(photo, faces, chosen, signal),
      h("div", {}, h("h2", {}, t("photo.faces", { n: faces.length })),
        h("ul.faces", {}, faces.map((face) => faceRow(face, face.face_id === chosen))),
        factsOf(photo))));
}

async function pictureOf(photo, faces, chosen, signal) {
  let shown;
  try {
    shown = await loadPhoto(photo.photo_id, SIDE, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return h("p.notice-box", { role: "status" }, errorText(error));
  }
  signal.addEventListener("abort", () => URL.revokeObjectURL(shown.url));
  const boxes = faces.map((face) => {
    const isChosen = face.face_id === chosen;
    const box = h(isChosen ? "a.box.chosen" : "a.box", { href: `#face-${face.face_id}`, onclick: (event) => {
      event.preventDefault();
      document.getElementById(`face-${face.face_id}`)?.querySelector("a, button")?.focus();
    }, "aria-label": nameOf(face.person) }, h("span", {}, nameOf(face.person)));
    placeBox(box, face.box, shown);
    return box;
  });
  const frame = h("div.frame.large", {}, h("img", { src: shown.url, alt: t("photo.alt", { name: shortName(photo.uri) }) }), boxes);
  frame.style.aspectRatio = `${shown.width} / ${shown.height}`;
  frame.style.maxWidth = `calc(78vh * ${(shown.width / shown.height).toFixed(4)})`;
  return h("figure", {}, frame);
}

function faceRow(face, isChosen) {
  const name = nameOf(face.person);
  return h(isChosen ? "li.chosen" : "li", { id: `face-${face.face_id}` },
    faceImage(face.face_id, "", 120),
    h("div", {},
      h("strong", {}, face.person_id ? h("a", { href: addressOf("person", face.person_id) }, name) : name),
      h("div.row", {},
        button(t("photo.similar"), () => go("search", "", { face: face.face_id }), { kind: "quiet" }),
        mayChange("curate") && button(t("photo.name"), attempt(async () => {
          if (await nameFace(face)) await reload();
        }), { kind: "quiet" }),
        mayChange("curate") && button(t("delete"), attempt(() => deleteFace(face)), { kind: "quiet" }))));
}

async function deleteFace(face) {
  if (!(await confirmed(t("delete.title"), t("delete.one"), t("delete"), "danger"))) return;
  const job = await runJob(() => post("/v1/delete", { faces: [face.face_id] }, { once: true }));
  if (!job) return;
  forgetImages();
  const undo = async () => {
    await runJob(() => undoDeletion(job.result.deletion_id));
    await reload();
  };
  tell(t("delete.done", { n: job.result.num_faces }), { action: t("undo"), onaction: attempt(undo) });
  history.back();
}

function factsOf(photo) {
  const [face] = photo.faces;
  const facts = Object.entries(face.metadata).filter(([, value]) => value !== null);
  return h("dl.facts", {},
    h("dt", {}, t("column.uri")), h("dd.path", {}, photo.uri),
    photo.also_at.map((uri) => [h("dt", {}, t("photo.also_at")), h("dd.path", {}, uri)]),
    facts.map(([column, value]) => [h("dt", {}, named("column", column)), h("dd", {}, String(value))]));
}
