// What is around every view: the way between views, undo, language, key, help.

import { allows, me, useKey } from "./session.js";
import { button, choice, fill, h } from "./dom.js";
import { askDialog } from "./dialogs.js";
import { LANGUAGES, chooseLanguage, currentLanguage, t } from "./i18n.js";
import { attempt, noticeRegion } from "./notices.js";
import { addressOf, go, startRouter } from "./router.js";
import { undoLast } from "./decisions.js";

const TABS = { search: ["search", "photo"], people: ["people", "person", "questions", "together", "history"], collection: ["collection"] };
const SHORTCUTS = [["1 2 3", "views"], ["/", "field"], ["Ctrl+Z", "undo"], ["← ↑ → ↓", "arrows"], ["Space", "select"], ["Y N S", "questions"], ["Esc", "close"], ["?", "help"]];

/** Show the frame of the page, and in it the view of the address. */
export async function showShell(page) {
  const main = h("main", { id: "main" });
  const tabs = tabsAllowed();
  const links = tabs.map((name) => h("a", { href: addressOf(name), "data-tab": name }, t(`tab.${name}`)));
  fill(page,
    h("a.skip", { href: "#main", onclick: (event) => {
      event.preventDefault();
      main.querySelector("h1")?.focus();
    } }, t("skip")),
    h("header.top", {},
      h("a.brand", { href: addressOf("search") }, h("img", { src: "/page/icon.svg", alt: "", width: 24, height: 24 }), "facetrove"),
      h("nav", { "aria-label": t("tabs") }, links),
      h("div.tools", {}, tools())),
    main,
    noticeRegion());
  removeEventListener("facetrove:view", markTab);
  addEventListener("facetrove:view", markTab);
  document.onkeydown = (event) => onKey(event, tabs);
  return startRouter(main);
}

function tabsAllowed() {
  return allows("search") ? ["search", "people", "collection"] : ["collection"];
}

function tools() {
  const items = [];
  if (allows("curate") && me().jobs) {
    items.push(button(t("undo"), attempt(undoLast), { kind: "quiet", title: t("undo.title"), "data-undo": true }));
  }
  items.push(choice(LANGUAGES, currentLanguage(), (name) => {
    chooseLanguage(name);
    location.reload();
  }, { "aria-label": t("language") }));
  items.push(button("?", showHelp, { kind: "quiet", "aria-label": t("help") }));
  if (me().needs_key) {
    items.push(button(t("key.forget"), () => {
      useKey(null);
      location.reload();
    }, { kind: "quiet", title: t("key.of", { name: me().name }) }));
  }
  return items;
}

function markTab(event) {
  for (const link of document.querySelectorAll("[data-tab]")) {
    const isHere = TABS[link.dataset.tab].includes(event.detail);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function onKey(event, tabs) {
  const isTyping = event.target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
  if (document.querySelector("dialog[open]") || isTyping || event.altKey) return;
  const isCommand = event.ctrlKey || event.metaKey;
  if (isCommand && event.key === "z" && allows("curate") && me().jobs) {
    event.preventDefault();
    attempt(undoLast)();
  } else if (isCommand) {
    return;
  } else if (event.key === "?") {
    showHelp();
  } else if (event.key === "/") {
    event.preventDefault();
    document.querySelector("main input[type=search], main input[type=text], main input[type=file]")?.focus();
  } else if (tabs[Number(event.key) - 1]) {
    go(tabs[Number(event.key) - 1]);
  }
}

function showHelp() {
  const rows = SHORTCUTS.map(([keys, what]) => h("tr", {}, h("td", {}, h("kbd", {}, keys)), h("td", {}, t(`keys.${what}`))));
  return askDialog(t("keys.title"), [h("table", {}, h("tbody", {}, rows)),
    h("p", {}, h("a", { href: "/docs", target: "_blank", rel: "noreferrer" }, t("docs")))]);
}
