// The key and what it allows. The key lives as long as the tab, in no cookie and no address.

const STORED = "facetrove.key";

const state = { key: sessionStorage.getItem(STORED), me: null };

/** Return the headers of a request: the key, where there is one. */
export function keyHeaders() {
  return state.key ? { Authorization: `Bearer ${state.key}` } : {};
}

/** Take a key, or forget it (null). */
export function useKey(key) {
  state.key = key;
  state.me = null;
  if (key) sessionStorage.setItem(STORED, key);
  else sessionStorage.removeItem(STORED);
}

/** Note what the server says of this client: the answer of GET /v1/me. */
export function setMe(me) {
  state.me = me;
}

/** Return what the server says of this client. */
export function me() {
  return state.me;
}

/** Return whether this client may do what a scope covers. */
export function allows(scope) {
  return state.me !== null && state.me.scopes.includes(scope);
}

/** Return whether the server changes anything, and this client may do what a scope covers. */
export function mayChange(scope) {
  return allows(scope) && state.me.jobs;
}
