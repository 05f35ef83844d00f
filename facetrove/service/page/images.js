// Pictures of faces and photos. They are asked for with the key, a few at a time, when they come
// into sight; the recent ones are kept in memory.

import { getPicture } from "./api.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";

const MAX_KEPT = 600;
const MAX_AT_ONCE = 6;

const kept = new Map();
const waiting = new Map();
let numLoading = 0;

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) waiting.set(target, target.dataset.path);
    else waiting.delete(target);
  }
  loadNext();
}, { rootMargin: "300px" });

/**
 * Return the picture of a face, which is loaded when it comes into sight.
 *
 * @param {string} faceId id of the face.
 * @param {string} alt what it shows, in words; "" where that stands beside it.
 * @param {number} side width and height in pixels.
 */
export function faceImage(faceId, alt, side = 160) {
  return lazyImage(`/v1/faces/${faceId}/thumbnail?side=${side}`, alt, "face");
}

/** Return a small picture of a photo, which is loaded when it comes into sight. */
export function photoImage(photoId, alt, side = 320) {
  return lazyImage(`/v1/photos/${photoId}/image?side=${side}`, alt, "photo");
}

/**
 * Load a photo.
 *
 * @returns {Promise<{url: string, width: number, height: number}>} address of the picture in this
 *   page, to be revoked, and size of the whole photo in pixels, which boxes refer to.
 */
export async function loadPhoto(photoId, side, signal) {
  const response = await getPicture(`/v1/photos/${photoId}/image?side=${side}`, { signal });
  const [width, height] = response.headers.get("X-Photo-Size").split("x").map(Number);
  return { url: URL.createObjectURL(await response.blob()), width, height };
}

/** Forget all pictures: what has been deleted is not shown again. */
export function forgetImages() {
  for (const url of kept.values()) URL.revokeObjectURL(url);
  kept.clear();
}

function lazyImage(path, alt, kind) {
  const image = h(`img.${kind}`, { alt, "data-path": path, draggable: "false" });
  const url = kept.get(path);
  if (url) image.src = url;
  else observer.observe(image);
  return image;
}

function loadNext() {
  while (numLoading < MAX_AT_ONCE && waiting.size) {
    const [image, path] = waiting.entries().next().value;
    waiting.delete(image);
    observer.unobserve(image);
    if (image.isConnected) load(image, path);
  }
}

async function load(image, path) {
  numLoading += 1;
  try {
    image.src = kept.get(path) ?? keep(path, await (await getPicture(path)).blob());
  } catch {
    image.classList.add("missing");
    image.title = t("picture.missing");
  } finally {
    numLoading -= 1;
    loadNext();
  }
}

function keep(path, blob) {
  const url = URL.createObjectURL(blob);
  kept.set(path, url);
  if (kept.size > MAX_KEPT) {
    const [oldest, old] = kept.entries().next().value;
    kept.delete(oldest);
    URL.revokeObjectURL(old);
  }
  return url;
}
