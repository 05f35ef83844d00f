// A photo by the camera of this device: the browser asks whether it may, and nothing leaves the
// page before somebody takes the photo.

import { button, h } from "./dom.js";
import { t } from "./i18n.js";

const MAX_SIDE = 1920;

/** Return whether the browser lets this page use a camera: on this machine, or by https. */
export function hasCamera() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/** Show what the camera sees; return the photo that somebody takes, or null. */
export async function takePhoto() {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { width: { ideal: MAX_SIDE }, facingMode: "user" },
    audio: false,
  });
  const video = h("video", { autoplay: true, playsinline: true, "aria-label": t("camera.picture") });
  video.muted = true;
  video.srcObject = stream;
  const dialog = h("dialog.camera", { "aria-label": t("camera.title") }, video);
  return new Promise((resolve) => {
    let photo = null;
    const take = async () => {
      photo = await pictureOf(video);
      dialog.close();
    };
    dialog.append(h("div.buttons", {},
      button(t("cancel"), () => dialog.close()),
      button(t("camera.take"), take, { kind: "primary", autofocus: true })));
    dialog.addEventListener("close", () => {
      stream.getTracks().forEach((track) => track.stop());
      dialog.remove();
      resolve(photo);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function pictureOf(video) {
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", 0.92);
  });
}
