// The server under test: starts aureond with its built-in site on a free port, waits for its own
// word that it listens, and ends it by pid.
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { within } from "./chromium.mjs";

// Below 32768, where Linux takes the ports of outgoing connections from: a restart on the same port
// then cannot meet one of those.
const PORT_MIN = 20_000;
const PORT_MAX = 32_000;
const TRIES_MAX = 50;
const LOG_BYTES_MAX = 4096;

const isFree = (port) => new Promise((resolve) => {
  const probe = createServer();
  probe.once("error", () => resolve(false));
  probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
});

/** A port of 127.0.0.1 that nobody listens on now. */
export async function freePort() {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port found between ${PORT_MIN} and ${PORT_MAX}`);
}

/** Starts `binary` and resolves when it says that it listens on `port`. */
export async function startServer(binary, port) {
  const child = spawn(binary, ["--listen", `127.0.0.1:${port}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  const server = {
    url: `http://127.0.0.1:${port}`,
    /** Ends the process; SIGKILL, for the page must notice a death without farewell. */
    async kill() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await within(gone, "the server to end");
    },
  };
  let log = "";
  const ready = new Promise((resolve, reject) => {
    child.stderr.on("data", (bytes) => {
      log = (log + bytes).slice(-LOG_BYTES_MAX);
      if (log.includes(`listening on ${server.url}`)) resolve();
    });
    child.once("error", (error) => reject(new Error(`${binary} did not start: ${error.message}`)));
    child.once("close", (code, signal) => {
      reject(new Error(`${binary} ended (${signal ?? code}) before it listened:\n${log}`));
    });
  });
  try {
    await within(ready, `${binary} to say "listening on ${server.url}"`);
  } catch (error) {
    if (child.pid) await server.kill();
    throw error;
  }
  return server;
}
