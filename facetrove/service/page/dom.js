// Elements from plain values. Text is set as text, so that no name or path ever becomes markup.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate"]);

/**
 * Return a new element.
 *
 * @param {string} tag name of the element, with classes after dots: "p.muted".
 * @param {object} attributes attributes by name; `onclick` and the like are listeners; null and
 *   false leave one out, true sets it without a value.
 * @param {...(Node|string|number|null|Array)} children what stands in it.
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (PROPERTIES.has(key)) element[key] = value ?? "";
    else if (value === null || value === undefined || value === false) continue;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Return a new element of a drawing; see `h`. */
export function svg(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElementNS(SVG, name);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...present(children));
  return element;
}

/** Replace what stands in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Return a button with a text; kinds are the classes "primary", "quiet" and "danger". */
export function button(text, onclick, { kind = "", ...attributes } = {}) {
  return h(kind ? `button.${kind}` : "button", { type: "button", onclick, ...attributes }, text);
}

/** Return a label with the field that it is for. */
export function labelled(text, field) {
  return h("label.field", {}, h("span", {}, text), field);
}

/** Return a select of [value, text] pairs. */
export function choice(pairs, value, onchange, attributes = {}) {
  const options = pairs.map(([key, text, off]) =>
    h("option", { value: key, selected: key === value, disabled: Boolean(off) }, text));
  return h("select", { onchange: (event) => onchange(event.target.value), ...attributes }, options);
}

let numIds = 0;

/** Return an id that no other element of the page has. */
export function newId(what) {
  numIds += 1;
  return `${what}-${numIds}`;
}

function present(children) {
  return children.flat(2).filter((child) => child !== null && child !== undefined && child !== false);
}
