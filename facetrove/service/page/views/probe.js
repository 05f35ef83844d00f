// Photos that are searched for: they are sent to be looked at, not to be kept, and shown with the
// faces that were found, of which one picks those to search for.

import { ApiError, post } from "../api.js";
import { fill, h } from "../dom.js";
import { t } from "../i18n.js";

/**
 * Find the faces of photos.
 *
 * @param {Array<Blob>} files the photos.
 * @param {number} maxBytes size that the service takes.
 * @param {AbortSignal} signal ends it.
 * @returns {Promise<Array>} for each photo its picture's address, size and faces, the largest
 *   first, of which all are chosen if they are few, else the largest.
 */
export async function readPhotos(files, maxBytes, signal) {
  if (files.some((file) => file.size > maxBytes)) {
    throw new ApiError(413, "over_photo_limits", t("error.over_photo_limits"));
  }
  const form = new FormData();
  for (const file of files) form.append("photo", file, "photo");
  const { photos } = await post("/v1/embed", form, { signal });
  return photos.map((photo, place) => ({
    url: URL.createObjectURL(files[place]),
    width: photo.width,
    height: photo.height,
    faces: photo.faces.map((face) => ({ ...face, isChosen: face.number === 1 })),
  }));
}

/** Return a photo with its faces as buttons; `onchange` is called when one is picked or left out. */
export function probePhoto(photo, onchange) {
  const picture = h("img", { src: photo.url, alt: t("probe.photo"), onerror: () => picture.classList.add("missing") });
  const note = h("figcaption", {}, captionOf(photo));
  const boxes = photo.faces.map((face) => {
    const box = h("button.box", { type: "button", "aria-pressed": String(face.isChosen), "aria-label": t("probe.face", { number: face.number }), onclick: () => {
      face.isChosen = !face.isChosen;
      box.setAttribute("aria-pressed", String(face.isChosen));
      fill(note, captionOf(photo));
      onchange();
    } }, h("span", {}, String(face.number)));
    placeBox(box, face.box, photo);
    return box;
  });
  const frame = h("div.frame", {}, picture, boxes);
  frame.style.aspectRatio = `${photo.width} / ${photo.height}`;
  return h("figure.probe", {}, frame, note);
}

/** Place an element over a face of a picture, whatever the size at which the picture is shown. */
export function placeBox(element, box, { width, height }) {
  element.style.left = `${(100 * box.x) / width}%`;
  element.style.top = `${(100 * box.y) / height}%`;
  element.style.width = `${(100 * box.width) / width}%`;
  element.style.height = `${(100 * box.height) / height}%`;
}

function captionOf(photo) {
  const chosen = photo.faces.filter((face) => face.isChosen).length;
  return photo.faces.length ? t("probe.chosen", { n: photo.faces.length, chosen }) : t("search.no_face");
}
