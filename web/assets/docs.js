// The page of the API: shows /api/v1/openapi.json, and sends requests. Nothing of it is loaded from
// elsewhere, and nothing of a token is kept.

const DOCUMENT = "/api/v1/openapi.json";
const byId = (id) => document.getElementById(id);

/** An element with these properties and children; texts are never taken for HTML. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A sentence in which what stands between back-ticks is code. */
function words(name, text) {
  const parts = text.split("`");
  return element(name, {}, ...parts.map((part, index) =>
    index % 2 === 1 ? element("code", { textContent: part }) : part));
}

function resolve(api, schema) {
  if (!schema?.$ref) return schema ?? {};
  const steps = schema.$ref.slice(2).split("/");
  return steps.reduce((found, step) => found?.[step], api) ?? {};
}

/** What a schema is, in a word or two. */
function kind(api, schema) {
  const name = schema?.$ref?.split("/").pop();
  if (name) return name;
  if (schema?.oneOf) return schema.oneOf.map((one) => kind(api, one)).join(" or ");
  const type = [schema?.type].flat().filter(Boolean).join(" or ") || "anything";
  return schema?.items ? `list of ${kind(api, schema.items)}` : type;
}

/** The fields of an object, as a list of terms. */
function fields(api, schema) {
  const object = resolve(api, schema);
  const list = element("dl");
  for (const [name, field] of Object.entries(object.properties ?? {})) {
    const needed = object.required?.includes(name) ? "" : ", may be absent";
    const about = field.description ?? resolve(api, field).description ?? "";
    const values = field.enum ? ` One of ${field.enum.map((value) => `\`${value}\``).join(", ")}.` : "";
    list.append(element("dt", { textContent: name }),
      words("dd", `${kind(api, field)}${needed}. ${about}${values}`));
  }
  return list;
}

/** Something to begin with. */
function example(api, schema, depth = 0) {
  const object = resolve(api, schema);
  if (object.example !== undefined) return object.example;
  if (object.examples?.length) return object.examples[0];
  if (object.enum) return object.enum[0];
  const type = [object.type].flat()[0];
  if (type === "object" && depth < 4) {
    const entries = Object.entries(object.properties ?? {});
    const needed = entries.filter(([name]) => object.required?.includes(name));
    return Object.fromEntries(needed.map(([name, field]) => [name, example(api, field, depth + 1)]));
  }
  return { array: [], boolean: false, integer: object.minimum ?? 0, number: 0 }[type] ?? "";
}

function authorization() {
  const token = byId("token").value.trim();
  if (!token) return {};
  return { Authorization: `${token.startsWith("sbv1.") ? "Visitor" : "Bearer"} ${token}` };
}

/** The form that sends one request and shows the answer. */
function attempt(api, path, method, operation) {
  const form = element("form", { className: "attempt" });
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const input = element("input", { name: parameter.name, autocomplete: "off" });
    form.append(element("label", {}, `${parameter.name} (${parameter.in})`, input));
    return [parameter, input];
  });
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const area = body && element("textarea", {
    value: JSON.stringify(example(api, body), null, 2), spellcheck: false,
  });
  if (area) form.append(element("label", {}, "Body (JSON)", area));
  const shown = element("pre", { tabIndex: 0 });
  const answer = element("div", { className: "answer", hidden: true }, shown);
  answer.setAttribute("role", "status");
  form.append(element("p", {}, element("button", { type: "submit", textContent: "Send" })), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.hidden = false;
    shown.textContent = "…";
    shown.textContent = await send(path, method, inputs, area?.value);
  });
  return form;
}

async function send(path, method, inputs, body) {
  const headers = authorization();
  const query = new URLSearchParams();
  let target = path;
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") {
      target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    } else if (input.value && parameter.in === "query") {
      query.set(parameter.name, input.value);
    } else if (input.value) {
      headers[parameter.name] = input.value;
    }
  }
  if (body) headers["Content-Type"] = "application/json";
  if (query.size) target += `?${query}`;
  try {
    const response = await fetch(target, { method: method.toUpperCase(), headers, body: body || undefined });
    const text = await response.text();
    const noted = ["x-request-id", "ratelimit", "retry-after", "location"]
      .filter((name) => response.headers.has(name))
      .map((name) => `${name}: ${response.headers.get(name)}`);
    let pretty = text;
    try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
    return [`${response.status} ${response.statusText}`, ...noted, "", pretty].join("\n");
  } catch (error) {
    return `No answer: ${error.message}`;
  }
}

/** What one route is: closed at first, its inside made when it is opened. */
function route(api, path, method, operation) {
  const title = element("summary", {},
    element("b", { className: `method ${method}`, textContent: method.toUpperCase() }),
    element("code", { textContent: path }), words("span", operation.summary ?? ""));
  const made = element("details", { id: operation.operationId }, title);
  made.dataset.text = `${method} ${path} ${operation.summary} ${operation.description ?? ""}`.toLowerCase();
  const open = () => {
    if (!made.open || made.querySelector(".inside")) return;
    made.append(inside(api, path, method, operation));
  };
  made.addEventListener("toggle", open);
  return made;
}

function inside(api, path, method, operation) {
  const part = element("div", { className: "inside" });
  if (operation.description) part.append(words("p", operation.description));
  const ways = (operation.security ?? [{}]).map((way) => Object.keys(way).join(" with ") || "nobody in particular");
  part.append(words("p", `Asked by: ${ways.join(", ")}.`));
  if (operation.parameters?.length) {
    const list = element("dl");
    for (const parameter of operation.parameters) {
      list.append(element("dt", { textContent: parameter.name }),
        words("dd", `In the ${parameter.in}${parameter.required ? "" : ", may be absent"}. ${parameter.description ?? ""}`));
    }
    part.append(element("h3", { textContent: "Parameters" }), list);
  }
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  if (body) {
    const needed = operation.requestBody.required ? "" : " (may be absent)";
    part.append(element("h3", { textContent: `Body: ${kind(api, body)}${needed}` }), fields(api, body));
  }
  part.append(element("h3", { textContent: "Answers" }));
  const answers = element("dl");
  for (const [status, response] of Object.entries(operation.responses)) {
    answers.append(element("dt", { textContent: status }), words("dd", response.description ?? ""));
  }
  part.append(answers);
  for (const response of Object.values(operation.responses)) {
    const schema = response.content?.["application/json"]?.schema;
    if (schema) part.append(element("h3", { textContent: `Gives: ${kind(api, schema)}` }), fields(api, schema));
  }
  part.append(element("h3", { textContent: "Try it" }), attempt(api, path, method, operation));
  return part;
}

function show(api) {
  byId("version").textContent = api.info.version;
  byId("about").replaceWith(words("p", api.info.description ?? ""));
  for (const tag of api.tags ?? []) {
    const part = element("section", { id: `group-${tag.name}` },
      element("h2", { textContent: tag.name }), words("p", tag.description ?? ""));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (operation.tags?.includes(tag.name)) part.append(route(api, path, method, operation));
      }
    }
    if (part.querySelector("details")) {
      byId("routes").append(part);
      byId("groups").append(element("a", { href: `#group-${tag.name}`, textContent: tag.name }));
    }
  }
}

byId("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const made of document.querySelectorAll("details")) {
    made.hidden = !made.dataset.text.includes(wanted);
  }
});

byId("token").addEventListener("input", () => {
  const { Authorization } = authorization();
  byId("who").textContent = Authorization ? `As ${Authorization.split(" ")[0]}.` : "Without a token.";
});

byId("visit").addEventListener("click", async () => {
  const response = await fetch("/api/v1/auth/anonymous", { method: "POST" });
  const made = await response.json();
  byId("token").value = made.visitor_token ?? "";
  byId("who").textContent = made.visitor_token ? `As ${made.name}.` : made.detail;
});

try {
  const response = await fetch(DOCUMENT);
  if (!response.ok) throw new Error(`${response.status}`);
  show(await response.json());
} catch (error) {
  byId("about").textContent = `The document could not be loaded (${error.message}).`;
}
