// Photos to add: from this device, where the server keeps such photos, or a folder of the server.

import { post } from "../api.js";
import { choice, fill, h, labelled } from "../dom.js";
import { t } from "../i18n.js";
import { attempt, tell, tellError } from "../notices.js";
import { me } from "../session.js";

const MAX_AT_ONCE = 500;
const SHARE_OF_REQUEST = 0.9;

/** Return the section that adds photos; `watch` is called with the jobs that it begins. */
export function addSection(watch) {
  const { uploads, folders } = me();
  return h("section", {}, h("h2", {}, t("add.title")),
    uploads && uploadForm(watch),
    folders.length > 0 && folderForm(folders, watch),
    !uploads && !folders.length && h("p.muted", {}, t("add.nothing_allowed")));
}

function uploadForm(watch) {
  const files = h("input", { type: "file", accept: "image/*", multiple: true, required: true });
  const person = h("input", { type: "text", maxlength: 200, autocomplete: "off" });
  const note = h("p.muted", { role: "status" });
  const submit = h("button.primary", { type: "submit" }, t("add.send"));
  return h("form.card-form", { onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await sendAll([...files.files], person.value.trim(), note, watch);
      event.target.reset();
    } catch (error) {
      tellError(error);
    } finally {
      submit.disabled = false;
      fill(note);
    }
  } }, labelled(t("add.photos"), files), labelled(t("add.person"), person), h("div.buttons", {}, submit), note);
}

/** Send photos in as many requests as the server's limits ask for. */
async function sendAll(files, person, note, watch) {
  const { max_photo_bytes: maxPhoto, max_request_bytes: maxRequest } = me();
  const fitting = files.filter((file) => file.size <= maxPhoto);
  if (fitting.length < files.length) tell(t("add.too_large", { n: files.length - fitting.length }), { isError: true });
  let sent = 0;
  while (sent < fitting.length) {
    const piece = [];
    let bytes = 0;
    for (const file of fitting.slice(sent, sent + MAX_AT_ONCE)) {
      if (piece.length && bytes + file.size > SHARE_OF_REQUEST * maxRequest) break;
      piece.push(file);
      bytes += file.size;
    }
    fill(note, t("add.sending", { done: sent, total: fitting.length }));
    const form = new FormData();
    for (const file of piece) form.append("photo", file, "photo");
    if (person) form.append("columns", JSON.stringify({ person }));
    watch(await post("/v1/enrol", form, { once: true }));
    sent += piece.length;
  }
}

function folderForm(folders, watch) {
  let [base] = folders;
  const inside = h("input", { type: "text", maxlength: 1000, autocomplete: "off", placeholder: t("add.inside_example") });
  return h("form.card-form", { onsubmit: attempt(async (event) => {
    event.preventDefault();
    const path = inside.value.trim().replace(/^\/+/, "");
    watch(await post("/v1/enrol", { folder: path ? `${base}/${path}` : base }, { once: true }));
  }) },
  labelled(t("add.folder"), choice(folders.map((folder) => [folder, folder]), base, (value) => {
    base = value;
  })),
  labelled(t("add.inside"), inside),
  h("div.buttons", {}, h("button.primary", { type: "submit" }, t("add.take"))));
}
