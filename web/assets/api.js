// REST as the page uses it: one request, its answer, and its refusals as `Problem`.
// Who asks is told with each request; nothing is kept here.

const BASE = '/api/v1';
const PATIENCE_MS = 35_000;

/** A refusal: the fields of application/problem+json. `unreachable` when no answer came at all. */
export class Problem extends Error {
  constructor({ code, status = 0, detail = '', errors = [], retry_after_ms, until }) {
    super(detail || code);
    Object.assign(this, { code, status, detail, errors, retry_after_ms, until });
  }

  /** The field that was not as it must be. */
  get field() {
    return this.errors[0]?.field;
  }

  /** Whether the server knows the caller no more; trying again would not help. */
  get isUnknown() {
    return this.status === 401;
  }
}

/**
 * Asks the server.
 * @param by `{authorization}` to present that and no cookie, `{cookie: true}` to be the visitor that
 *   the browser's cookie knows, `{}` to be nobody. `{keep: true}` takes cookies that the answer sets.
 */
export async function ask(method, path, { body, by = {} } = {}) {
  const headers = { accept: 'application/json', 'accept-language': document.documentElement.lang };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (by.authorization) headers.authorization = by.authorization;
  if (by.cookie) headers['x-csrf-token'] = await csrfToken();
  const response = await send(`${BASE}${path}`, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    // Without them an answer can neither read nor replace the cookie of another visitor.
    credentials: by.cookie || by.keep ? 'same-origin' : 'omit',
  });
  const answer = await read(response);
  if (response.ok) return answer;
  throw new Problem({
    retry_after_ms: retryAfter(response),
    ...(answer?.code ? answer : { code: 'other', detail: response.statusText }),
    status: response.status,
  });
}

async function send(url, options) {
  try {
    return await fetch(url, {
      ...options, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Problem({ code: 'unreachable' });
  }
}

async function read(response) {
  try {
    return await response.json();
  } catch {
    // 204 has no body; a proxy's error page is no JSON.
    return null;
  }
}

function retryAfter(response) {
  const seconds = Number(response.headers.get('retry-after'));
  return seconds > 0 ? seconds * 1_000 : undefined;
}

/** The copy of the cookie that scripts of this origin can read and other sites cannot. */
async function csrfToken() {
  const kept = csrfCookie();
  if (kept) return kept;
  const response = await send(`${BASE}/auth/csrf`, { credentials: 'same-origin' });
  const answer = await read(response);
  return csrfCookie() ?? answer?.csrf_token ?? '';
}

function csrfCookie() {
  return document.cookie.match(/(?:^|; )sb_csrf=([^;]+)/)?.[1];
}
