// The language of the page: strings, numbers, dates, and how often strangers match, in words.

export const LANGUAGES = [["en", "English"], ["de", "Deutsch"]];

const STORED = "facetrove.language";

let strings = {};
let language = "en";
let locale = "en";
let plurals = new Intl.PluralRules("en");

/** Load the strings of the language that was chosen, or that the browser prefers. */
export async function loadLanguage() {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages.map((name) => name.slice(0, 2))];
  const known = LANGUAGES.map(([name]) => name);
  language = wanted.find((name) => known.includes(name)) ?? "en";
  strings = (await import(`./strings/${language}.js`)).default;
  plurals = new Intl.PluralRules(language);
  locale = navigator.languages.find((name) => name.startsWith(language)) ?? language;
  document.documentElement.lang = language;
}

/** Choose a language for this browser; it counts when the page is loaded again. */
export function chooseLanguage(name) {
  localStorage.setItem(STORED, name);
}

/** Return the language's two letters. */
export function currentLanguage() {
  return language;
}

/**
 * Return a string.
 *
 * @param {string} key its key. With a value `n`, a key that ends in ".one" or ".other" is taken.
 * @param {object} values values that stand in the string as {name}; numbers are written as such.
 */
export function t(key, values = {}) {
  const form = "n" in values ? `${key}.${plurals.select(values.n)}` : key;
  const text = strings[form] ?? strings[`${key}.other`] ?? strings[key];
  if (text === undefined) throw new Error(`there is no string ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) =>
    typeof values[name] === "number" ? number(values[name]) : String(values[name]));
}

/** Return whether there is a string. */
export function hasString(key) {
  return key in strings;
}

/** Return the string of what a program calls by a name, or where there is none, that name. */
export function named(group, name) {
  return hasString(`${group}.${name}`) ? t(`${group}.${name}`) : String(name).replaceAll("_", " ");
}

/** Return a number as people write it. */
export function number(value, digits) {
  const options = digits === undefined ? {} : { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString(locale, options);
}

/** Return a time, given in ISO 8601, as a date and a time of this place. */
export function moment(iso) {
  return new Date(iso).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}

/** Return a date, given in ISO 8601. */
export function day(iso) {
  return new Date(iso).toLocaleDateString(locale, { dateStyle: "medium", timeZone: "UTC" });
}

/**
 * Say how often searches for strangers find a match as similar.
 *
 * @param {?string} odds as the service says it: "1 in 27", "at most 1 in 1,000", "84 in 100",
 *   "nearly all"; null: no figure is known.
 */
export function strangersInWords(odds) {
  if (odds === null) return t("odds.unknown");
  const found = /^(at most )?([\d,]+) in ([\d,]+)$/.exec(odds);
  if (!found) return t("odds.nearly_all");
  const [some, all] = [found[2], found[3]].map((digits) => Number(digits.replaceAll(",", "")));
  return t(found[1] ? "odds.at_most" : some === 1 ? "odds.one" : "odds.some", { some, all });
}

/** Return what to tell people of an error. */
export function errorText(error) {
  if (error.code && hasString(`error.${error.code}`)) return t(`error.${error.code}`);
  return t("error.other", { message: error.message });
}
