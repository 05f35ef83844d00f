// Search: a photo, its faces, and the faces of the collection that are like them.

import { get, post } from "../api.js";
import { hasCamera, takePhoto } from "../camera.js";
import { button, choice, fill, h, labelled } from "../dom.js";
import { Filters } from "../filters.js";
import { errorText, number, t } from "../i18n.js";
import { faceImage } from "../images.js";
import { arrowKeys } from "../lists.js";
import { attempt, tell } from "../notices.js";
import { addressOf } from "../router.js";
import { me } from "../session.js";
import { matchCard } from "./cards.js";
import { probePhoto, readPhotos } from "./probe.js";

const FIRST = 24;
const FPIRS = ["0.1", "0.01", "0.001"];

// It outlives the view, so that one comes back to it from a photo.
const state = { photos: [], faceId: null, together: false, filters: new Filters(), k: FIRST, onePer: "", fpir: "", index: null };

/** Show the search. */
export default async function searchView({ query, signal }) {
  state.index = await get("/v1/index", { signal });
  await state.filters.load(signal);
  const faceId = query.get("face");
  if (faceId && faceId !== state.faceId) {
    forgetPhotos();
    state.faceId = faceId;
  } else if (!faceId && state.photos.length) {
    state.faceId = null;
  }
  return new SearchView(signal).element;
}

function forgetPhotos() {
  for (const photo of state.photos) URL.revokeObjectURL(photo.url);
  Object.assign(state, { photos: [], faceId: null, together: false, k: FIRST });
}

class SearchView {
  constructor(signal) {
    this.signal = signal;
    this.running = null;
    this.probes = h("div.probes");
    this.options = h("div.options");
    this.results = h("div.results");
    // Screen readers are told how many there are, not all of them.
    this.status = h("p.muted", { role: "status" });
    this.drop = this.#dropZone();
    this.element = h("section.search", {}, h("h1", {}, t("search.title")), this.drop,
      h("div.search-columns", {}, h("div.asked", {}, this.probes, this.options), h("div", {}, this.status, this.results)));
    arrowKeys(this.results, ".card");
    document.addEventListener("paste", (event) => this.#paste(event), { signal });
    this.#drawAll();
  }

  #dropZone() {
    const field = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": t("search.choose"), onchange: () => this.#take(field.files) });
    const zone = h("div.drop", {
      ondragover: (event) => {
        event.preventDefault();
        zone.classList.add("over");
      },
      ondragleave: () => zone.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        this.#take(event.dataTransfer.files);
      },
    },
    h("p.lead", {}, t("search.drop")),
    h("div.buttons", {},
      h("label.button.primary", {}, t("search.choose"), field),
      hasCamera() && button(t("camera.title"), attempt(() => this.#photograph()))),
    h("p.muted", {}, t("search.kept")));
    return zone;
  }

  async #photograph() {
    const photo = await takePhoto();
    if (photo) await this.#take([photo]);
  }

  #paste(event) {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) this.#take(files);
  }

  async #take(files) {
    if (!files.length) return;
    fill(this.status, t("search.looking"));
    fill(this.results);
    try {
      const photos = await readPhotos([...files], me().max_photo_bytes, this.signal);
      forgetPhotos();
      state.photos = photos;
      if (location.hash.includes("face=")) history.replaceState(null, "", addressOf("search"));
      this.#drawAll();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    if (error.name === "AbortError") return;
    fill(this.status);
    fill(this.results, h("p.error-text", { role: "alert" }, errorText(error)));
  }

  #drawAll() {
    const hasProbe = state.photos.length > 0 || state.faceId !== null;
    this.element.classList.toggle("has-probe", hasProbe);
    fill(this.probes,
      state.faceId && h("figure.probe", {}, faceImage(state.faceId, t("search.of_face"), 240), h("figcaption", {}, t("search.of_face"))),
      state.photos.map((photo) => probePhoto(photo, () => this.#search())));
    this.#drawOptions(hasProbe);
    this.#search();
  }

  #drawOptions(hasProbe) {
    const numFaces = state.photos.flatMap((photo) => photo.faces).length;
    const search = () => this.#search();
    const rates = FPIRS.map((rate) => [rate, t("fpir.at_most", { all: Math.round(1 / rate) }), !(state.index.min_fpir <= Number(rate))]);
    const onePer = [["", t("one_per.none")], ["photo", t("one_per.photo")], ["person", t("one_per.person")]];
    const together = h("input", { type: "checkbox", checked: state.together, onchange: () => {
      state.together = together.checked;
      search();
    } });
    fill(this.options,
      hasProbe && h("div.row", {},
        labelled(t("fpir.label"), choice([["", t("fpir.none")], ...rates], state.fpir, (value) => {
          state.fpir = value;
          search();
        })),
        labelled(t("one_per.label"), choice(onePer, state.onePer, (value) => {
          state.onePer = value;
          search();
        })),
        numFaces > 1 && h("label.check", {}, together, t("search.together"))),
      state.filters.editor(search));
  }

  async #search() {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.signal.addEventListener("abort", () => running.abort());
    try {
      const drawn = await this.#found(running.signal);
      if (running.signal.aborted) return;
      fill(this.results, drawn);
      const n = this.results.querySelectorAll(".card").length;
      fill(this.status, n ? t("search.listed", { n }) : "");
    } catch (error) {
      this.#fail(error);
    }
  }

  async #found(signal) {
    const { where } = state.filters;
    const chosen = state.photos.flatMap((photo) => photo.faces).filter((face) => face.isChosen);
    if (state.faceId === null && !state.photos.length) return where ? this.#listed(where, signal) : this.#hint();
    if (state.faceId === null && !chosen.length) {
      const hasFaces = state.photos.some((photo) => photo.faces.length);
      return h("p.muted", {}, hasFaces ? t("search.choose_face") : t("search.no_face"));
    }
    const body = state.faceId === null ? { embeddings: probesOf(chosen) } : { face_id: state.faceId };
    if (where) body.where = where;
    const k = Math.max(1, Math.min(state.k, state.index.num_faces, me().max_k));
    const query = { k, one_per: state.onePer || null, fpir: state.fpir || null };
    const found = await post("/v1/search", body, { query, signal });
    const isOne = found.probes.length === 1;
    const basis = h("p.muted.basis", {}, t(`basis.${found.fpir_basis ?? "none"}`, { num_faces: found.num_faces }));
    return [basis, found.probes.map((probe, place) => this.#probe(probe, isOne ? null : chosen[place]))];
  }

  #probe(probe, face) {
    const { matches } = probe;
    const canBeMore = matches.length >= state.k && state.k < me().max_k;
    return h("section.matches", {},
      h("h2", {}, face ? t("search.matches_of", { number: face.number }) : t("search.matches")),
      matches.length ? h("ul.grid", {}, matches.map((match) => h("li", {}, matchCard(match)))) : h("p.muted", {}, t("search.none")),
      canBeMore && button(t("more"), () => {
        state.k = Math.min(me().max_k, state.k * 4);
        this.#search();
      }, { kind: "quiet" }));
  }

  async #listed(where, signal) {
    const { faces } = await post("/v1/faces/list", { where, k: Math.min(Math.max(state.k, 96), me().max_k) }, { signal });
    if (!faces.length) return h("p.muted", {}, t("search.none"));
    return h("section.matches", {}, h("h2", {}, t("search.matches")),
      h("ul.grid", {}, faces.map((face) => h("li", {}, matchCard(face)))));
  }

  #hint() {
    return h("p.muted", {}, t("search.hint", { faces: number(state.index.num_faces) }));
  }
}

/** Return the embeddings to search by: one for each face, or their mean where they are one person. */
function probesOf(faces) {
  const embeddings = faces.map((face) => face.embedding);
  if (!state.together || embeddings.length < 2) return embeddings;
  const sum = embeddings[0].map((_, place) => embeddings.reduce((total, one) => total + one[place], 0));
  const length = Math.hypot(...sum);
  if (length < 1e-6) {
    tell(t("search.cancel_out"), { isError: true });
    return embeddings;
  }
  return [sum.map((value) => value / length)];
}
