// Headless Chromium on a pipe: starts it, speaks the DevTools protocol (JSON messages ended by NUL
// on file descriptors 3 and 4, so no WebSocket and no port), and gives one page with the few verbs
// the tests need. Nothing here waits by sleeping: a wait ends with an event or with its deadline.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
  // Not even a name look-up leaves this machine.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]",
];

/** The longest any single wait may take; wide, because test machines are shared. */
export const WAIT_MS = 30_000;

/** `promise`, or an error that names what was waited for. */
export function within(promise, what, ms = WAIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms / 1000} s for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The protocol on the pipe: requests by id, events by session and method. */
class Pipe {
  #next = 1;
  #pending = new Map();
  #listeners = [];
  #rest = [];

  constructor(child) {
    this.output = child.stdio[3];
    child.stdio[4].on("data", (bytes) => this.#receive(bytes));
    child.on("exit", (code, signal) => this.#end(`Chromium ended (${signal ?? code})`));
    child.on("error", (error) => this.#end(`Chromium did not start: ${error.message}`));
    this.output.on("error", () => this.#end("Chromium closed its pipe"));
  }

  #end(reason) {
    for (const { reject } of this.#pending.values()) reject(new Error(reason));
    this.#pending.clear();
    this.ended = reason;
  }

  #receive(bytes) {
    let from = 0;
    for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, from)) {
      this.#rest.push(bytes.subarray(from, end));
      this.#dispatch(JSON.parse(Buffer.concat(this.#rest).toString("utf8")));
      this.#rest = [];
      from = end + 1;
    }
    if (from < bytes.length) this.#rest.push(bytes.subarray(from));
  }

  #dispatch(message) {
    if (message.id === undefined) {
      for (const listener of [...this.#listeners]) listener(message);
      return;
    }
    const { resolve, reject, method } = this.#pending.get(message.id) ?? {};
    this.#pending.delete(message.id);
    if (message.error) reject?.(new Error(`${method}: ${message.error.message}`));
    else resolve?.(message.result);
  }

  send(method, params = {}, sessionId = undefined) {
    if (this.ended) return Promise.reject(new Error(this.ended));
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, method });
    });
    this.output.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return within(answer, `Chromium to answer ${method}`);
  }

  /** Calls `listener` for every event until the returned function is called. */
  listen(listener) {
    this.#listeners.push(listener);
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== listener);
    };
  }
}

/** One tab. */
class Page {
  constructor(pipe, session) {
    this.pipe = pipe;
    this.session = session;
  }

  send(method, params) {
    return this.pipe.send(method, params, this.session);
  }

  on(method, listener) {
    return this.pipe.listen((event) => {
      if (event.sessionId === this.session && event.method === method) listener(event.params);
    });
  }

  /** Resolves with the parameters of the next event `method` that passes `test`. */
  next(method, test = () => true) {
    let off;
    const event = new Promise((resolve) => {
      off = this.on(method, (params) => test(params) && resolve(params));
    });
    return within(event, `the event ${method}`).finally(off);
  }

  async open(url) {
    const loaded = this.next("Page.loadEventFired");
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText && !errorText.includes("ERR_HTTP_RESPONSE_CODE_FAILURE")) {
      loaded.catch(() => {});
      throw new Error(`${url} did not open: ${errorText}`);
    }
    await loaded;
  }

  /** The value of a JavaScript expression in the page; promises are awaited. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression, awaitPromise: true, returnByValue: true,
    });
    if (exceptionDetails) {
      const { text, exception } = exceptionDetails;
      throw new Error(`in the page: ${exception?.description ?? text}`);
    }
    return result.value;
  }

  /** Calls `body` (a self-contained function) in the page with JSON arguments. */
  call(body, ...args) {
    return this.evaluate(`(${body})(...${JSON.stringify(args)})`);
  }

  /** Waits until a JavaScript expression is true, looking again at each change of the document. */
  async until(expression, what) {
    const watch = `new Promise((resolve) => {
      const look = () => { if (${expression}) { watcher.disconnect(); resolve(true); } };
      const watcher = new MutationObserver(look);
      watcher.observe(document,
        { subtree: true, childList: true, characterData: true, attributes: true });
      look();
    })`;
    try {
      await within(this.evaluate(watch), what, WAIT_MS - 1000);
    } catch (error) {
      const seen = await this.evaluate("document.body.innerText").catch(() => "nothing");
      throw new Error(`${error.message}; the page shows:\n${seen}`);
    }
  }

  /** Types text and presses Enter, as a person would, into the element with this id. */
  async type(id, text) {
    await this.call((id) => {
      document.getElementById(id).focus();
      document.getElementById(id).select();
    }, id);
    if (text) await this.send("Input.insertText", { text });
    else await this.press("Backspace", 8);
    await this.press("Enter", 13, "\r");
  }

  async press(key, windowsVirtualKeyCode, text) {
    const event = { key, code: key, windowsVirtualKeyCode, text };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
  }

  resize(width, height) {
    return this.send("Emulation.setDeviceMetricsOverride", {
      width, height, deviceScaleFactor: 1, mobile: width < 600,
    });
  }

  /** Emulates media features, for example `{ "prefers-color-scheme": "dark" }`. */
  prefer(features) {
    const list = Object.entries(features).map(([name, value]) => ({ name, value }));
    return this.send("Emulation.setEmulatedMedia", { features: list });
  }

  async picture(path) {
    const { cssContentSize } = await this.send("Page.getLayoutMetrics");
    const { data } = await this.send("Page.captureScreenshot", {
      captureBeyondViewport: true, clip: { ...cssContentSize, scale: 1 },
    });
    writeFileSync(path, Buffer.from(data, "base64"));
  }
}

/**
 * Starts Chromium and calls `use` with a page; ends Chromium whatever happens, also when the signal
 * `stop` says so.
 */
export async function withPage(program, stop, use) {
  stop.throwIfAborted();
  const profile = mkdtempSync(join(tmpdir(), "aureon-browser-"));
  const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    detached: true, // a process group of its own, so that its helpers end with it
  });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  const end = () => {
    try {
      if (child.pid) process.kill(-child.pid, "SIGKILL");
    } catch {
      // Already gone.
    }
  };
  const onStop = () => {
    console.error(`browser test: ${stop.reason.message}`);
    end();
  };
  stop.addEventListener("abort", onStop);
  try {
    const pipe = new Pipe(child);
    const { targetId } = await pipe.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await pipe.send("Target.attachToTarget", { targetId, flatten: true });
    return await use(new Page(pipe, sessionId));
  } finally {
    stop.removeEventListener("abort", onStop);
    end();
    if (child.pid) await within(gone, "Chromium to end");
    rmSync(profile, { recursive: true, force: true, maxRetries: 20 });
  }
}
