// Cards of faces: matches of a search, and faces in lists.

import { h } from "../dom.js";
import { number, strangersInWords, t } from "../i18n.js";
import { faceImage } from "../images.js";
import { addressOf } from "../router.js";

/** Return the end of a photo's name, which is what people know it by. */
export function shortName(uri) {
  const last = uri.split("/").pop();
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** Return a face's name, or that nobody knows it. */
export function nameOf(person) {
  return person ?? t("unknown");
}

/**
 * Return the card of a face, which leads to its photo.
 *
 * @param {object} face a face of the index; with `similarity` and `strangers` where it is a match.
 */
export function matchCard(face) {
  const isMatch = face.similarity !== undefined;
  const share = Math.max(0, Math.min(1, face.similarity ?? 0));
  return h("a.card", { href: addressOf("photo", face.photo_id, { face: face.face_id }) },
    faceImage(face.face_id, "", 240),
    h("span.name", {}, face.person ?? shortName(face.uri)),
    isMatch && h("span.similarity", {},
      h("meter", { min: 0, max: 1, value: share, "aria-label": t("similarity") }),
      h("span", {}, t("similarity.is", { similarity: number(face.similarity, 3) }))),
    isMatch && h("span.odds", {}, strangersInWords(face.strangers)),
    face.person && h("span.muted", {}, shortName(face.uri)));
}
