// Requests to the admin API. A response that isn't a success becomes a Problem.

const TOKEN = "holdfast-token"; // in sessionStorage: it is gone when the tab is closed
const TIMEOUT = 15_000; // ms

export class Problem extends Error {
  // detail says what is wrong; field is the parameter that is, if one is; errors has the
  // lines of a configuration that was refused.
  constructor(status, detail, field = "", errors = []) {
    super(detail);
    Object.assign(this, { status, field, errors });
  }
}

// unreachable is the status of a Problem if there was no response.
export const UNREACHABLE = 0;

let token = sessionStorage.getItem(TOKEN) ?? "";
let refused = () => Promise.reject(new Problem(401, "a token is needed"));
let asking = null;

export const signedIn = () => token !== "";

// onRefused sets the function that asks for a token when the balancer wants one. It is
// given a text that says why, and returns a promise of the token.
export function onRefused(f) { refused = f; }

export function setToken(value) {
  token = value;
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

// path joins the segments of a path. Names of pools and backends may have any character.
export const path = (...segments) => "/v1/" + segments.map(encodeURIComponent).join("/");

// query makes the query of a URL of the values that aren't empty.
export function query(values) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v !== "" && v !== undefined && v !== null) q.set(k, v);
  const s = q.toString();
  return s ? `?${s}` : "";
}

export const get = (target, options) => call("GET", target, undefined, options);
export const post = (target, body = {}) => call("POST", target, body);
export const put = (target, body) => call("PUT", target, body);
export const patch = (target, body) => call("PATCH", target, body);
export const del = (target) => call("DELETE", target);

async function call(method, target, body, options = {}) {
  const late = AbortSignal.timeout(TIMEOUT);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  const response = await send(method, target, body, { signal });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new Problem(response.status, "The response isn't JSON: is this address a balancer's?");
  }
}

// send returns a response that is a success. It asks for a token as often as needed.
export async function send(method, target, body, { signal, headers = {} } = {}) {
  for (;;) {
    const used = token;
    let response;
    try {
      response = await fetch(target, {
        method, signal, cache: "no-store", credentials: "omit", redirect: "error",
        headers: {
          Accept: "application/json",
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...(used ? { Authorization: `Bearer ${used}` } : {}),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(UNREACHABLE, error.name === "TimeoutError" ? "The balancer doesn't answer." : "The balancer can't be reached.");
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    if (used === token) { // otherwise someone else has just signed in
      asking ??= refused(used ? problem.message : "").then(setToken).finally(() => { asking = null; });
      await asking;
    }
    signal = undefined; // its time is over by now
  }
}

async function problemOf(response) {
  const words = await response.text().catch(() => "");
  try {
    const p = JSON.parse(words);
    if (typeof p.detail === "string") return new Problem(response.status, p.detail, p.field, p.errors ?? []);
  } catch { /* not problem+json: a proxy's answer */ }
  return new Problem(response.status, words.trim().slice(0, 300) || `The balancer answers with status ${response.status}.`);
}
