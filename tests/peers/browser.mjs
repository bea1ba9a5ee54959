// A Chromium that does what it is told on stdin, a line of JSON each, and answers with a
// line each: {"ok": value} or {"error": text}. Its arguments: the folder of the packages,
// the browser's program, a folder for its profile.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, executablePath, profile] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
// Whoever waits longer waits in vain.
const PATIENCE = 80_000;
// How often what cannot be subscribed to is looked at.
const LOOK_AGAIN = 50;

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  bypassCSP: false,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // The same picture on every machine.
    "--font-render-hinting=none",
  ],
});
context.setDefaultTimeout(PATIENCE);
const page = context.pages()[0] ?? (await context.newPage());

// What must never happen.
let complaints = [];
let asked = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("dialog", (dialog) => {
  complaints.push(`a dialog: ${dialog.message()}`);
  dialog.dismiss();
});
context.on("request", (request) => asked.push(request.url()));

const deeds = {
  async open({ url, width = 1280, height = 900, scheme = "light", motion = "no-preference" }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
    await page.goto(url);
  },
  run: ({ script }) => page.evaluate(script),
  async until({ script }) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      // What it looks for may not be there yet.
      const last = await page.evaluate(script).catch((error) => error);
      if (last === true) return;
      if (Date.now() > end) throw new Error(`it is ${last} to the end`);
      await new Promise((later) => setTimeout(later, LOOK_AGAIN));
    }
  },
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text }) => page.keyboard.type(text),
  click: ({ selector }) => page.click(selector),
  // What somebody using a screen reader would be told, as a tree in text.
  heard: ({ selector }) => page.locator(selector).ariaSnapshot(),
  // What axe finds wrong. It is put beside the page's own scripts, which the page's
  // policy forbids, and so by the debugger.
  async axe() {
    const { readFile } = await import("node:fs/promises");
    const debug = await context.newCDPSession(page);
    const expression = await readFile(axe, "utf8");
    await debug.send("Runtime.evaluate", { expression });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`);
  },
  async picture({ path, whole = false }) {
    await page.screenshot({ path, fullPage: whole, animations: "disabled" });
  },
  // What has happened so far that must not, and who has been asked for anything.
  events: () => ({ complaints, asked }),
};

console.log(JSON.stringify({ ok: "ready" }));
for await (const line of createInterface({ input: process.stdin })) {
  const { do: deed, ...how } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await deeds[deed](how)) ?? null };
  } catch (error) {
    answer = { error: `${deed}: ${error}` };
  }
  console.log(JSON.stringify(answer));
}
await context.close();
