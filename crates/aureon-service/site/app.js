// The living parts of the landing page: theme switch, status card, message, greeting, and the light
// that makes the round for each request. Runs from <head> so that a chosen theme is in force before
// the first paint; all else waits for the document. Everything the server says enters the page as
// text, never as markup. Also used by 404.html, so every part does without its element.
(() => {
  "use strict";

  const POLL_MS = 2000;
  const RETRY_MS_MAX = 10000;
  // After this an unanswered request counts as failed.
  const PATIENCE_MS = 5000;
  // Bars in the latency trace.
  const SAMPLES_MAX = 32;

  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const find = (id) => document.getElementById(id);

  // Writing equal text again would make screen readers repeat it.
  const say = (id, text) => {
    const place = find(id);
    if (place && place.textContent !== text) place.textContent = text;
  };

  // Theme. Storage may be forbidden; the switch then works until the page is left.
  const stored = () => {
    try {
      const theme = localStorage.getItem("theme");
      return theme === "dark" || theme === "light" ? theme : null;
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : night.matches);
  const useTheme = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    find("theme")?.setAttribute("aria-pressed", String(isDark()));
  };
  const switchTheme = () => {
    const wanted = isDark() ? "light" : "dark";
    // Choosing what the system prefers anyway means following the system again.
    const choice = (wanted === "dark") === night.matches ? null : wanted;
    try {
      if (choice) localStorage.setItem("theme", choice);
      else localStorage.removeItem("theme");
    } catch {
      // Not remembered, still switched.
    }
    useTheme(choice);
  };

  // One request, timed from here until its body has been read.
  const ask = async (path) => {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
    const start = performance.now();
    let status = 0;
    try {
      const response = await fetch(path, { cache: "no-store", signal: patience.signal });
      status = response.status;
      const text = await response.text();
      const ms = performance.now() - start;
      lightUp(path, `${status} in ${ms.toFixed(1)} ms`, true);
      if (!response.ok) throw new Error(`${path} answered with status ${status}.`);
      return { ms, body: JSON.parse(text) };
    } catch (error) {
      if (status === 0) lightUp(path, "no answer", false);
      if (error instanceof SyntaxError) error.message = `${path} did not answer with JSON.`;
      error.answered = status !== 0;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  };

  const lightUp = (path, outcome, answered) => {
    say("asked", `GET ${path.split("?")[0]}`);
    say("answered", outcome);
    if (calm.matches || !answered) return;
    find("pulse")?.animate?.(
      [
        { strokeDashoffset: 9, opacity: 1 },
        { strokeDashoffset: -100, opacity: 1 },
      ],
      { duration: 1300, easing: "cubic-bezier(.5,.1,.4,1)" },
    );
    find("ping")?.animate?.(
      [{ opacity: 0.8 }, { opacity: 0, transform: "scale(1.75)" }],
      { duration: 900, easing: "ease-out" },
    );
  };

  // Status card.
  const samples = [];
  const drawTrace = (ms) => {
    samples.push(ms);
    if (samples.length > SAMPLES_MAX) samples.shift();
    // Logarithmic: one slow answer (the first opens the connection) does not flatten the rest.
    const slowest = Math.log1p(Math.max(1, ...samples));
    const bars = samples.map((sample, index) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = sample < 0 ? 36 : Math.max(2, (Math.log1p(sample) / slowest) * 36);
      bar.setAttribute("x", String(index * 5));
      bar.setAttribute("y", String(36 - height));
      bar.setAttribute("width", "4");
      bar.setAttribute("height", String(height));
      if (sample < 0) bar.setAttribute("class", "miss");
      return bar;
    });
    find("trace").replaceChildren(...bars);
  };

  const spell = (seconds) => {
    const parts = [
      [Math.floor(seconds / 86400), "d"],
      [Math.floor(seconds / 3600) % 24, "h"],
      [Math.floor(seconds / 60) % 60, "min"],
      [Math.floor(seconds) % 60, "s"],
    ];
    const first = parts.findIndex(([count]) => count > 0);
    const shown = first < 0 ? parts.slice(3) : parts.slice(first, first + 2);
    return shown.map(([count, unit]) => `${count} ${unit}`).join(" ");
  };

  const show = (state, word, detail) => {
    root.dataset.state = state;
    say("state", word);
    say("detail", detail);
  };

  const showAnswer = ({ ms, body }) => {
    const text = (key) => (body[key] === undefined ? "not said" : String(body[key]));
    if (body.status === "ok") show("live", "Live", text("message"));
    else show("failing", "Not ok", text("message"));
    say("status-word", text("status"));
    say("uptime", Number.isFinite(body.uptime) ? spell(body.uptime) : "not said");
    say("engine", text("engine"));
    say("version", text("version"));
    say("latency", `${ms.toFixed(1)} ms`);
    drawTrace(ms);
  };

  // What was true before the silence is not shown as if it still were.
  const showSilence = (error) => {
    if (error.answered) {
      show("failing", "Not ok", `${error.message} Trying again.`);
    } else if (root.dataset.state !== "offline") {
      const since = new Date().toLocaleTimeString();
      show("offline", "Offline", `No answer from /api/status since ${since}. Trying again.`);
    }
    for (const id of ["status-word", "uptime", "engine", "version", "latency"]) say(id, "–");
    drawTrace(-1);
  };

  const readMessage = async () => {
    try {
      say("message", String((await ask("/api/message")).body.message));
    } catch {
      say("message", "No message: the server did not answer.");
    }
  };

  let pause = POLL_MS;
  let next = 0;
  let asking = false;
  const poll = async () => {
    clearTimeout(next);
    if (asking || document.hidden) return;
    asking = true;
    try {
      const first = root.dataset.state !== "live";
      showAnswer(await ask("/api/status"));
      pause = POLL_MS;
      if (first) readMessage();
    } catch (error) {
      showSilence(error);
      pause = Math.min(pause * 2, RETRY_MS_MAX);
    } finally {
      asking = false;
      next = setTimeout(poll, pause);
    }
  };

  // Greeting. Encoded as the form itself would be without this script.
  let greetings = 0;
  const greet = async (event) => {
    event.preventDefault();
    const mine = ++greetings;
    const path = `/api/greet?${new URLSearchParams({ name: find("name").value.trim() })}`;
    say("greet-line", `GET ${path}`);
    let answer;
    try {
      answer = String((await ask(path)).body.message);
    } catch (error) {
      answer = error.answered ? error.message : "No answer. The server seems to be offline.";
    }
    // An older answer came late.
    if (mine !== greetings) return;
    find("greeting").classList.remove("quiet");
    say("greeting", answer);
  };

  const offerCopies = () => {
    // Only on https and localhost.
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("[data-copy]")) {
      const command = find(button.dataset.copy).textContent;
      button.setAttribute("aria-label", `Copy ${command}`);
      button.hidden = false;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(command);
          button.textContent = "Copied";
          say("notice", `Copied ${command}`);
        } catch {
          button.textContent = "Not allowed";
        }
      });
    }
  };

  useTheme(stored());
  document.addEventListener("DOMContentLoaded", () => {
    useTheme(root.dataset.theme);
    night.addEventListener("change", () => useTheme(root.dataset.theme));
    find("theme").hidden = false;
    find("theme").addEventListener("click", switchTheme);
    say("where", location.pathname.slice(0, 200));
    offerCopies();
    find("greet-form")?.addEventListener("submit", greet);
    if (!find("status")) return;
    show("waiting", "Asking", "Waiting for /api/status.");
    document.addEventListener("visibilitychange", poll);
    poll();
  });
})();
