// The beginning: the language, then the key if one is needed, then the views.

import { ApiError, get, whenKeyNeeded } from "./api.js";
import { button, fill, h, labelled, newId } from "./dom.js";
import { errorText, loadLanguage, t } from "./i18n.js";
import { setMe, useKey } from "./session.js";
import { showShell } from "./shell.js";

const page = document.getElementById("page");
let isAsking = false;

async function begin() {
  try {
    setMe(await get("/v1/me"));
    await showShell(page);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return;
    fill(page, h("main.narrow", {}, h("h1", {}, t("error.title")), h("p", { role: "alert" }, errorText(error)),
      button(t("again"), () => location.reload(), { kind: "primary" })));
  }
}

function askForKey() {
  if (isAsking) return;
  isAsking = true;
  const hadKey = sessionStorage.length > 0;
  useKey(null);
  const id = newId("key");
  const field = h("input", { id, type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const wrong = h("p.error-text", { role: "alert" }, hadKey ? t("key.wrong") : "");
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    isAsking = false;
    useKey(field.value.trim());
    await begin();
  } }, labelled(t("key.label"), field), wrong, h("button.primary", { type: "submit" }, t("key.use")));
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  fill(page, h("main.narrow", {}, h("h1", {}, t("key.title")), h("p", {}, t("key.why")), form));
  field.focus();
}

await loadLanguage();
whenKeyNeeded(askForKey);
await begin();
