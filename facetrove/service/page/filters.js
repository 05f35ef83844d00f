// Filters: conditions on columns, picked from those that there are, written as the service reads them.

import { get } from "./api.js";
import { button, choice, fill, h, newId } from "./dom.js";
import { named, t } from "./i18n.js";

const OF_FACES = [
  { name: "uri", type: "text", common: [] },
  { name: "face_size", type: "number", common: [] },
  { name: "sharpness", type: "number", common: [] },
];

const OPERATORS = {
  text: ["is", "is_not", "contains", "begins", "missing"],
  number: ["at_least", "at_most", "is", "missing"],
  date: ["from", "until", "is", "missing"],
  time: ["from", "until", "missing"],
  boolean: ["yes", "no", "missing"],
};

const INPUTS = { text: "text", number: "number", date: "date", time: "datetime-local" };

/** Return the condition in words of the service, or null where a value is missing. */
export function conditionOf({ column, operator, value }) {
  const name = `"${column.name.replaceAll('"', '""')}"`;
  if (operator === "missing") return `${name} IS NULL`;
  if (operator === "yes" || operator === "no") return `${name} = ${operator === "yes" ? "TRUE" : "FALSE"}`;
  if (value === "") return null;
  const text = `'${value.replaceAll("'", "''")}'`;
  const literal = { text, number: String(Number(value)), date: `DATE ${text}`, time: `TIMESTAMP ${text}` }[column.type];
  return {
    is: `${name} = ${literal}`,
    is_not: `(${name} <> ${literal} OR ${name} IS NULL)`,
    contains: `contains(lower(${name}), lower(${literal}))`,
    begins: `starts_with(${name}, ${literal})`,
    at_least: `${name} >= ${literal}`,
    at_most: `${name} <= ${literal}`,
    from: `${name} >= ${literal}`,
    until: `${name} <= ${literal}`,
  }[operator];
}

/** Conditions that a person picks. `where` is all of them in one, or null. */
export class Filters {
  constructor() {
    this.rows = [];
    this.columns = null;
  }

  get where() {
    const conditions = this.rows.map(conditionOf).filter(Boolean);
    return conditions.length ? conditions.join(" AND ") : null;
  }

  /** Ask once which columns there are. */
  async load(signal) {
    if (this.columns) return;
    const { columns } = await get("/v1/index/columns", { signal });
    this.columns = [...columns, ...OF_FACES];
  }

  /** Return the fields in which conditions are picked; `onchange` is called when they change. */
  editor(onchange) {
    const list = h("ul.conditions");
    const draw = () => fill(list, this.rows.map((row) => h("li", {}, this.#fields(row, draw, onchange))));
    const add = () => {
      const [column] = this.columns;
      this.rows.push({ column, operator: OPERATORS[column.type][0], value: "" });
      draw();
      list.lastElementChild.querySelector("select").focus();
    };
    draw();
    return h("div.filters", {}, list, button(t("filter.add"), add, { kind: "quiet" }));
  }

  #fields(row, draw, onchange) {
    const names = this.columns.map(({ name }) => [name, named("column", name)]);
    const operators = OPERATORS[row.column.type].map((name) => [name, t(`operator.${name}`)]);
    const changed = () => {
      draw();
      onchange();
    };
    return [
      choice(names, row.column.name, (name) => {
        row.column = this.columns.find((column) => column.name === name);
        Object.assign(row, { operator: OPERATORS[row.column.type][0], value: "" });
        changed();
      }, { "aria-label": t("filter.column") }),
      choice(operators, row.operator, (name) => {
        row.operator = name;
        changed();
      }, { "aria-label": t("filter.operator") }),
      ...valueField(row, onchange),
      button("×", () => {
        this.rows.splice(this.rows.indexOf(row), 1);
        changed();
      }, { kind: "quiet", "aria-label": t("filter.remove") }),
    ];
  }
}

function valueField(row, onchange) {
  if (["missing", "yes", "no"].includes(row.operator)) return [];
  const id = newId("values");
  const input = h("input", {
    type: INPUTS[row.column.type],
    step: "any",
    value: row.value,
    list: row.column.common.length ? id : null,
    maxlength: 200,
    "aria-label": t("filter.value"),
    onchange: () => {
      row.value = input.value;
      onchange();
    },
  });
  const values = row.column.common.map((value) => h("option", { value }));
  return values.length ? [input, h("datalist", { id }, values)] : [input];
}
