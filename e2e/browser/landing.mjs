// What the landing page promises, checked in headless Chromium against a running aureond. Each
// check is a sentence; the first that fails ends the run with its sentence and the reason. Called
// by `run`.
import assert from "node:assert/strict";
import { join } from "node:path";
import { withPage } from "./chromium.mjs";
import { faintTexts, namelessControls } from "./eyes.mjs";
import { freePort, startServer } from "./server.mjs";

const RUN_MS_MAX = 240_000;
const POLICY = "default-src 'self'"; // the strictest policy that the site must bear
const [binary] = process.argv.slice(2);
const { AUREON_URL, CHROMIUM, SHOTS } = process.env;

const isLive = 'document.documentElement.dataset.state === "live"';
const text = (id) => `document.getElementById("${id}").textContent`;

let checks = 0;
async function check(sentence, body) {
  try {
    await body();
  } catch (error) {
    error.message = `NOT TRUE: ${sentence}\n${error.message}`;
    throw error;
  }
  checks += 1;
  console.log(`ok   ${sentence}`);
}

/**
 * Hands a document on under the strict policy, whatever policy the server sends. The answer is made
 * anew, because Chromium ignores a policy that is added to an answer it has already read.
 */
async function underPolicy(page, { requestId, responseStatusCode, responseHeaders }) {
  if (!responseStatusCode || (responseStatusCode >= 300 && responseStatusCode < 400)) {
    await page.send("Fetch.continueRequest", { requestId });
    return;
  }
  const { body, base64Encoded } = await page.send("Fetch.getResponseBody", { requestId });
  const policy = { name: "Content-Security-Policy", value: POLICY };
  await page.send("Fetch.fulfillRequest", {
    requestId,
    responseCode: responseStatusCode,
    responseHeaders: [...responseHeaders, policy],
    body: base64Encoded ? body : Buffer.from(body).toString("base64"),
  });
}

/** Records what the page should never do: complain on the console, or ask anyone else. */
async function watch(page, origin) {
  const seen = { complaints: [], foreign: [], requests: [], documents: [] };
  page.on("Runtime.exceptionThrown", ({ exceptionDetails: { text, exception } }) => {
    seen.complaints.push(`${text} ${exception?.description ?? ""}`);
  });
  page.on("Runtime.consoleAPICalled", ({ type, args }) => {
    if (["error", "warning", "assert"].includes(type)) {
      seen.complaints.push(`${type}: ${args.map((arg) => arg.value ?? arg.description).join(" ")}`);
    }
  });
  page.on("Log.entryAdded", ({ entry }) => {
    if (["error", "warning"].includes(entry.level)) {
      seen.complaints.push(`${entry.text} ${entry.url ?? ""}`);
    }
  });
  page.on("Network.requestWillBeSent", ({ request: { url } }) => {
    seen.requests.push(url);
    if (new URL(url).origin !== origin) seen.foreign.push(url);
  });
  page.on("Network.responseReceived", ({ type, response }) => {
    if (type === "Document") seen.documents.push(response);
  });
  page.on("Fetch.requestPaused", (paused) => {
    // The page may have moved on meanwhile; what then is missing shows in the sentences.
    underPolicy(page, paused).catch(() => {});
  });
  for (const domain of ["Page", "Runtime", "Log", "Network", "Accessibility"]) {
    await page.send(`${domain}.enable`);
  }
  await page.send("Fetch.enable", {
    patterns: [{ resourceType: "Document", requestStage: "Response" }],
  });
  return seen;
}

async function picture(page, name) {
  if (SHOTS) await page.picture(join(SHOTS, `${name}.png`));
}

async function checkStatusCard(page, url) {
  await check("the status card becomes live and says what the server says", async () => {
    await page.open(url);
    await page.until(isLive, "the card to become live");
    assert.equal(await page.evaluate(text("state")), "Live");
    const said = await page.evaluate('fetch("/api/status").then((answer) => answer.json())');
    assert.equal(said.status, "ok");
    assert.equal(await page.evaluate(text("status-word")), "ok");
    assert.equal(await page.evaluate(text("engine")), "Rust");
    assert.equal(await page.evaluate(text("version")), said.version);
    assert.equal(await page.evaluate(text("detail")), said.message);
    assert.match(await page.evaluate(text("uptime")), /^\d+ (s|min|h|d)/);
    assert.match(await page.evaluate(text("latency")), /^\d+\.\d ms$/);
  });
  await check("the uptime on the card moves on and the trace grows", async () => {
    const before = await page.evaluate(text("uptime"));
    await page.until(`${text("uptime")} !== ${JSON.stringify(before)}`, "a newer uptime");
    await page.until('document.querySelectorAll("#trace rect").length > 1', "a second bar");
  });
  await check("the message of the server is shown", async () => {
    const said = await page.evaluate('fetch("/api/message").then((answer) => answer.json())');
    assert.ok(said.message.length > 0);
    await page.until(`${text("message")} === ${JSON.stringify(said.message)}`, "the message");
  });
}

async function checkGreeting(page, seen) {
  const greets = async (typed, greeting) => {
    await page.type("name", typed);
    await page.until(`${text("greeting")} === ${JSON.stringify(greeting)}`, greeting);
    assert.equal(await page.evaluate('document.querySelectorAll("#greeting *").length'), 0);
  };
  await check("the greeting shows a name with markup in it as text", async () => {
    const name = "Zoë <b>&\"'";
    await greets(name, `Hello, ${name}!`);
    const asked = seen.requests.findLast((url) => url.includes("/api/greet?"));
    assert.equal(new URL(asked).searchParams.get("name"), name);
  });
  await check("an empty name is greeted as Guest", () => greets("", "Hello, Guest!"));
  await check("a name in another script, with + and %, survives the trip", async () => {
    await greets("李 雷 + 100% 🦀", "Hello, 李 雷 + 100% 🦀!");
  });
}

async function checkLooks(page) {
  const colours = {};
  for (const scheme of ["light", "dark"]) {
    await check(`every text can be read in the ${scheme} theme`, async () => {
      await page.prefer({ "prefers-color-scheme": scheme });
      assert.deepEqual(await page.call(faintTexts), []);
      colours[scheme] = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      await picture(page, scheme);
    });
  }
  await check("light and dark differ", () => assert.notEqual(colours.light, colours.dark));
  await check("a theme chosen by hand is remembered and can be taken back", async () => {
    const background = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    await page.evaluate('document.getElementById("theme").click()');
    assert.equal(await background(), colours.light);
    await page.open(await page.evaluate("location.href"));
    assert.equal(await background(), colours.light);
    assert.equal(await page.evaluate('localStorage.getItem("theme")'), "light");
    await page.evaluate('document.getElementById("theme").click()');
    assert.equal(await background(), colours.dark);
    assert.equal(await page.evaluate('localStorage.getItem("theme")'), null);
    await page.prefer({ "prefers-color-scheme": "light" });
  });
  for (const width of [320, 375, 768, 1280]) {
    await check(`nothing sticks out at ${width} pixels`, async () => {
      await page.resize(width, 800);
      assert.ok(await page.evaluate("document.documentElement.scrollWidth") <= width);
      if (width < 1000) await picture(page, `at-${width}`);
    });
  }
  await check("every link, button and field has a name", async () => {
    assert.deepEqual(namelessControls((await page.send("Accessibility.getFullAXTree")).nodes), []);
  });
  await check("nothing moves for those who asked for less motion", async () => {
    await page.prefer({ "prefers-reduced-motion": "reduce" });
    await page.open(await page.evaluate("location.href"));
    await page.until(isLive, "the card to become live");
    assert.equal(await page.evaluate("document.getAnimations().length"), 0);
    await page.prefer({});
  });
}

async function checkWithoutScript(page, url) {
  await check("without JavaScript the page says so, and its form still works", async () => {
    await page.send("Emulation.setScriptExecutionDisabled", { value: true });
    await page.open(url);
    assert.match(await page.evaluate("document.body.innerText"), /JavaScript is off/);
    assert.equal(await page.evaluate('document.getElementById("theme").hidden'), true);
    const answered = page.next("Page.loadEventFired");
    await page.type("name", "Ada");
    await answered;
    assert.match(await page.evaluate("location.href"), /\/api\/greet\?name=Ada$/);
    assert.match(await page.evaluate("document.body.innerText"), /Hello, Ada!/);
    await page.send("Emulation.setScriptExecutionDisabled", { value: false });
  });
}

async function checkSite(page, url, seen) {
  await check("no complaint on the console so far, under the strict policy", () => {
    assert.deepEqual(seen.complaints, []);
  });
  await check("the icon is a drawing and robots.txt is text", async () => {
    await page.open(url);
    for (const [path, type] of [["/favicon.svg", "image/svg+xml"], ["/robots.txt", "text/plain"]]) {
      const got = await page.evaluate(`fetch("${path}").then((answer) => answer.ok
        ? answer.headers.get("content-type") : answer.status)`);
      assert.ok(String(got).startsWith(type), `${path} came as ${got}`);
    }
  });
  await check("an unknown address shows the 404 page with status 404", async () => {
    await page.open(`${url}/no/such/page`);
    assert.equal(seen.documents.at(-1).status, 404);
    assert.equal(await page.evaluate('document.querySelector("h1").textContent'),
      "There is nothing at this address.");
    assert.equal(await page.evaluate(text("where")), "/no/such/page");
    assert.deepEqual(await page.call(faintTexts), []);
    await picture(page, "404");
    // Chromium itself reports the status of the document; nothing else may be reported.
    const expected = /^Failed to load resource: .* status of 404 .*\/no\/such\/page$/;
    const others = seen.complaints.filter((line) => !expected.test(line));
    assert.deepEqual(others, []);
  });
}

async function checkSilence(page, url, silence, noise) {
  await check("when the server dies the card turns to offline, without stale figures", async () => {
    await page.open(url);
    await page.until(isLive, "the card to become live");
    await silence();
    await page.until('document.documentElement.dataset.state === "offline"', "offline");
    assert.equal(await page.evaluate(text("state")), "Offline");
    assert.match(await page.evaluate(text("detail")), /^No answer from \/api\/status since /);
    assert.equal(await page.evaluate(text("uptime")), "–");
    await page.type("name", "Ada");
    await page.until(`${text("greeting")}.startsWith("No answer.")`, "an honest greeting");
    await picture(page, "offline");
  });
  await check("the card becomes live again when the server is back", async () => {
    await noise();
    await page.until(isLive, "the card to become live again");
  });
}

async function main(stop) {
  const started = [];
  const start = async (port) => started.push(await startServer(binary, port));
  const port = AUREON_URL ? 0 : await freePort();
  if (!AUREON_URL) await start(port);
  const url = AUREON_URL ? new URL(AUREON_URL).origin : started[0].url;
  try {
    await withPage(CHROMIUM, stop, async (page) => {
      const seen = await watch(page, url);
      await page.resize(1280, 800);
      await page.prefer({ "prefers-color-scheme": "light" });
      await checkStatusCard(page, url);
      await checkGreeting(page, seen);
      await checkLooks(page);
      await checkSite(page, url, seen);
      await checkWithoutScript(page, url);
      if (AUREON_URL) {
        // A server that is not ours is not killed: the browser is cut off from it instead.
        const cut = (offline) => page.send("Network.emulateNetworkConditions",
          { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
        await checkSilence(page, url, () => cut(true), () => cut(false));
      } else {
        await checkSilence(page, url, () => started[0].kill(), () => start(port));
      }
      await check("no request left the server's own origin", () => {
        assert.ok(seen.requests.length > 0);
        assert.deepEqual(seen.foreign, []);
      });
    });
  } finally {
    for (const server of started) await server.kill();
  }
}

// Stopping ends Chromium, which fails whatever waits for it, which cleans up on its way out.
const stop = new AbortController();
const deadline = setTimeout(() => {
  stop.abort(new Error(`not done after ${RUN_MS_MAX / 1000} s`));
}, RUN_MS_MAX);
for (const name of ["SIGINT", "SIGTERM"]) {
  process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
}
try {
  await main(stop.signal);
  console.log(`browser test: ${checks} checks passed`);
} catch (error) {
  console.error(`browser test: ${error.message}`);
  process.exitCode = 1;
} finally {
  clearTimeout(deadline);
}
