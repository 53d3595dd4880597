/** What can go wrong in a conversation, as a code that the page has words for. It knows nothing of the words. */

const PASSING = new Set(["server-full", "server-gone", "connection-failed"]); // waiting and trying again may cure these

export class Problem extends Error {
  constructor(code, detail = "", { retryAfterS = null } = {}) {
    super(detail || code);
    this.name = "Problem";
    this.code = code;
    this.detail = detail;
    this.retryAfterS = retryAfterS;
  }

  get passes() {
    return PASSING.has(this.code);
  }
}

export function asProblem(error) {
  return error instanceof Problem ? error : new Problem("connection-failed", String(error?.message ?? error));
}

/** The Problem that an HTTP answer outside 200 to 299 stands for. */
export async function problemOf(response) {
  const detail = await detailOf(response);
  if (response.status === 503) {
    return new Problem("server-full", detail, { retryAfterS: secondsOf(response.headers.get("Retry-After")) ?? 5 });
  }
  if (response.status >= 500) return new Problem("server-gone", detail);
  if (response.status === 422 && /character/i.test(detail)) return new Problem("unknown-character", detail);
  if (response.status === 404) return new Problem("connection-failed", detail); // the session ended before we reached it
  return new Problem("refused", detail || `The server answered ${response.status}.`);
}

async function detailOf(response) {
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text);
    return typeof body.detail === "string" ? body.detail : (body.title ?? body.error ?? "");
  } catch {
    return text.slice(0, 200);
  }
}

/** Retry-After is a number of seconds or a date. */
function secondsOf(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), 300) : null;
}
