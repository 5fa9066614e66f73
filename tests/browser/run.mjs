// A graph that is queued as a person does it, and what the server tells the page until it ends.
import { closeDialogs } from "./chromium.mjs";

// Everything is counted from now on; a page listens once and counts anew for each run.
function listen(page, runs) {
  return page.evaluate((wanted) => {
    const fresh = { successes: 0, previews: 0, texts: [], executed: [], files: [], progress: 0, curves: {}, surfaces: [], end: "" };
    const first = !window.__run;
    window.__run = { ...fresh, wanted };
    if (!first) return;
    const { api } = window.comfyAPI.api, on = (type, f) => api.addEventListener(type, (e) => f(window.__run, e.detail));
    on("b_preview_with_metadata", (seen) => seen.previews++);
    on("progress_text", (seen, detail) => seen.texts.push(String(detail?.text ?? "")));
    on("progress_state", (seen) => seen.progress++);
    on("lift123.curve", (seen, detail) => (seen.curves[detail.node] = detail));
    on("lift123.surface", (seen, detail) => seen.surfaces.push(detail));
    on("executed", (seen, detail) => {
      seen.executed.push(detail?.node);
      seen.files.push(...(detail?.output?.lift123_files ?? []).flatMap(Object.values));
    });
    on("execution_success", (seen) => ++seen.successes >= seen.wanted && (seen.end = "success"));
    on("execution_error", (seen, detail) => (seen.end = "error: " + detail?.exception_message));
    on("execution_interrupted", (seen) => (seen.end = "interrupted"));
  }, runs);
}

// runs: how many runs end it, as a batch goes on by itself.  Returns what was told; picture("running") after three previews.
export async function runGraph(page, { runs = 1, timeout }, report, picture) {
  await listen(page, runs);
  await closeDialogs(page);
  const button = page.getByTestId("queue-button").first();
  report.usedButton = (await button.count()) > 0;
  if (report.usedButton) {
    await button.click({ timeout: 30000 }).catch(async () => { // a first-run dialog came late
      await page.keyboard.press("Escape");
      await button.click();
    });
  }
  else await page.evaluate(() => window.comfyAPI.app.app.queuePrompt(0, 1));
  const until = { timeout: timeout * 1000, polling: 250 };
  await page.waitForFunction(() => window.__run.end || window.__run.previews >= 3, null, until);
  if (await page.evaluate(() => !window.__run.end)) await picture("running");
  await page.waitForFunction(() => window.__run.end, null, until);
  return page.evaluate(() => window.__run);
}
