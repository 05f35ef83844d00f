// Photos that show some people together, and none of others.

import { get, post } from "../api.js";
import { button, fill, h } from "../dom.js";
import { askDialog } from "../dialogs.js";
import { t } from "../i18n.js";
import { photoImage } from "../images.js";
import { arrowKeys, endless } from "../lists.js";
import { NameField, calledOf, personNamed } from "../naming.js";
import { attempt, tell } from "../notices.js";
import { addressOf, go } from "../router.js";
import { shortName } from "./cards.js";

const AT_ONCE = 48;

/** Show the photos of the people whose numbers the address has. */
export default async function togetherView({ query, signal }) {
  const chosen = { with: idsOf(query.get("with")), without: idsOf(query.get("without")) };
  const people = await Promise.all(["with", "without"].map((side) =>
    Promise.all(chosen[side].map((id) => get(`/v1/people/${id}`, { signal })))));
  const count = h("p.muted", { role: "status" });
  return h("section", {}, h("h1", {}, t("together.title")),
    ["with", "without"].map((side, place) => sideOf(side, people[place], chosen)),
    count,
    chosen.with.length ? photosOf(chosen, count, signal) : h("p", {}, t("together.nobody")));
}

function idsOf(text) {
  return (text ?? "").split(",").map(Number).filter((id) => Number.isSafeInteger(id) && id > 0);
}

function show(chosen) {
  go("together", "", { with: chosen.with.join(","), without: chosen.without.join(",") });
}

function sideOf(side, people, chosen) {
  const chips = people.map((person) => h("span.chip", {}, h("a", { href: addressOf("person", person.person_id) }, calledOf(person)),
    button("×", () => show({ ...chosen, [side]: chosen[side].filter((id) => id !== person.person_id) }),
      { kind: "quiet", "aria-label": t("together.remove", { name: calledOf(person) }) })));
  const add = attempt(async () => {
    const field = new NameField(t("people.name_field"));
    if (!(await askDialog(t(`together.add_${side}`), [field.element], [["yes", t(`together.add_${side}`), "primary"]]))) return;
    const person = await personNamed(field.name);
    if (person) show({ ...chosen, [side]: [...new Set([...chosen[side], person.person_id])] });
    else tell(t("person.move_unknown"), { isError: true });
  });
  return h("p.chips", {}, h("span.muted", {}, t(`together.${side}`)), chips, button(t(`together.add_${side}`), add, { kind: "quiet" }));
}

function photosOf(chosen, count, signal) {
  const grid = h("ul.grid");
  arrowKeys(grid, "a.card");
  const load = async (after) => {
    const page = await post("/v1/people/photos", { ...chosen, limit: AT_ONCE, after }, { signal });
    fill(count, t("people.photos", { n: page.num_photos }));
    return { items: page.photos, next: page.next };
  };
  return endless(grid, load, (photo) => h("li", {}, h("a.card", { href: addressOf("photo", photo.photo_id) },
    photoImage(photo.photo_id, ""), h("span.muted", {}, shortName(photo.uri)))), { signal, empty: t("together.none") });
}
