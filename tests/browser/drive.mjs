// Drives ComfyUI's page as a person would: load a workflow, queue it, watch it, look at the result.
// Usage: node drive.mjs TASK.json   (see test_browser.py for the task; writes report.json and PNGs into task.out)
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import { refuseAndHelp } from "./help.mjs";
import { appMode, dropFiles, letters, nodeRectangles, openGraphs, otherRenderer } from "./looks.mjs";
import { showStage, useResults, watchEnd } from "./parts.mjs";

const task = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const { chromium } = createRequire(path.join(task.node, "package.json"))("playwright-core");
const report = { errors: [], failedRequests: [], steps: [], thumbnails: {} };
const note = (text) => report.steps.push(text);

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

async function openPage() {
  // A first visit opens a tutorial over whatever is loaded, at a time of its own.
  await fetch(`${task.url}/settings/Comfy.TutorialCompleted`, { method: "POST", body: "true" });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  page.setDefaultTimeout(180000); // two busy cores draw WebGL and optimize at once
  page.on("console", (m) => m.type() === "error" && report.errors.push({ text: m.text(), url: m.location().url }));
  page.on("pageerror", (e) => report.errors.push({ text: String(e.stack || e), url: "" }));
  page.on("response", (r) => r.status() >= 400 && report.failedRequests.push(`${r.status()} ${r.url()}`));
  // The page shows thumbnails from blobs, so which file was served is known from the network only.
  page.on("response", (r) => r.url().includes(`/workflow_templates/${task.folder}/`) && r.url().endsWith(".jpg")
    && (report.thumbnails[decodeURIComponent(r.url().split("/").pop())] = r.status()));
  // Nothing outside this machine may be needed.
  await page.route((url) => !["127.0.0.1", "localhost"].includes(url.hostname) && url.protocol.startsWith("http"),
    (route) => route.abort());
  await page.goto(task.url, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => {
    const app = window.comfyAPI?.app?.app;
    return app?.canvas?.graph && app.extensionManager && Object.keys(window.LiteGraph.registered_node_types).length > 100;
  }, null, { timeout: 180000 });
  await page.waitForTimeout(4000);
  for (let i = 0; i < 3; i++) await page.keyboard.press("Escape"); // first-run dialogs
  return page;
}

const shot = (page, name) => page.screenshot({ path: path.join(task.out, `${name}.png`) });

async function showTemplates(page) {
  await page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  const entry = page.getByText(task.folder, { exact: false }).first();
  await entry.waitFor();
  await entry.click();
  // Thumbnails load only in sight, and late on a busy machine; what is still missing then is reported by the test.
  const shown = new Set();
  for (const name of task.templates) {
    const card = page.getByText(name, { exact: true }).first();
    await card.scrollIntoViewIfNeeded({ timeout: 20000 }).catch(() => note(`no card of ${name}`));
    await page.waitForFunction(() => [...document.images].every((i) => i.complete), null, { timeout: 20000 }).catch(() => {});
    await page.waitForTimeout(500);
    const sources = await page.evaluate(() => [...document.images]
      .filter((i) => i.naturalWidth > 100 && i.getBoundingClientRect().width > 100).map((i) => i.src));
    sources.forEach((source) => shown.add(source));
  }
  report.shownPictures = shown.size;
  await shot(page, "templates");
  report.templateText = await page.evaluate(() => document.body.innerText);
  if (task.openTemplate) {
    await page.getByText(task.openTemplate, { exact: true }).first().click();
    await page.waitForFunction(() => window.comfyAPI.app.app.graph.nodes?.length > 3, null, { timeout: 180000 });
  } else {
    await page.keyboard.press("Escape");
  }
}

async function loadWorkflow(page) {
  const workflow = JSON.parse(fs.readFileSync(task.workflow, "utf-8"));
  const name = path.basename(task.workflow, ".json"); // as the template browser opens it
  await page.evaluate(([data, title]) => window.comfyAPI.app.app.loadGraphData(data, true, true, title,
    { openSource: "template" }), [workflow, name]);
}

async function describeGraph(page) {
  return page.evaluate(async () => {
    const app = window.comfyAPI.app.app;
    const prompt = await app.graphToPrompt();
    const missing = app.graph.nodes.filter((n) => n.has_errors || !window.LiteGraph.registered_node_types[n.type]);
    return { types: app.graph.nodes.map((n) => n.type), missing: missing.map((n) => n.type), api: prompt.output };
  });
}

async function setWidgets(page) {
  report.set = await page.evaluate((wanted) => {
    const done = [], root = window.comfyAPI.app.app.graph;
    for (const node of [root, ...root.subgraphs.values()].flatMap((graph) => graph.nodes)) {
      for (const [name, value] of Object.entries(wanted[node.type] || {})) {
        const widget = node.widgets?.find((w) => w.name === name);
        if (!widget) continue;
        widget.value = value;
        widget.callback?.(value);
        done.push(`${node.type}.${name}`);
      }
    }
    return done;
  }, task.widgets || {});
}

async function runGraph(page) {
  await page.evaluate((runs) => {
    const { api } = window.comfyAPI.api;
    const seen = (window.__run = { successes: 0, previews: 0, texts: [], executed: [], files: [], progress: 0, curves: {},
      surfaces: [], end: "" });
    const on = (type, f) => api.addEventListener(type, f);
    on("b_preview_with_metadata", () => seen.previews++);
    on("progress_text", (e) => seen.texts.push(String(e.detail?.text ?? "")));
    on("progress_state", () => seen.progress++);
    on("lift123.curve", (e) => (seen.curves[e.detail.node] = e.detail));
    on("lift123.surface", (e) => seen.surfaces.push(e.detail));
    on("executed", (e) => {
      seen.executed.push(e.detail?.node);
      seen.files.push(...(e.detail?.output?.lift123_files ?? []).flatMap(Object.values));
    });
    on("execution_success", () => ++seen.successes >= runs && (seen.end = "success"));
    on("execution_error", (e) => (seen.end = "error: " + e.detail?.exception_message));
    on("execution_interrupted", () => (seen.end = "interrupted"));
  }, task.runs ?? 1); // a batch goes on by itself
  for (let i = 0; i < 20 && (await page.getByTestId("dialog-overlay").count()); i++) { // first-run dialogs may come late
    await page.keyboard.press("Escape");
    await page.waitForTimeout(500);
  }
  const button = page.getByTestId("queue-button").first();
  if (await button.count()) {
    await button.click({ timeout: 30000 }).catch(async () => { // a first-run dialog came late
      await page.keyboard.press("Escape");
      await button.click();
    });
  }
  else await page.evaluate(() => window.comfyAPI.app.app.queuePrompt(0, 1));
  report.usedButton = (await button.count()) > 0;
  const end = Date.now() + task.timeout * 1000;
  let during = false;
  while (Date.now() < end) {
    const run = await page.evaluate(() => window.__run);
    if (!during && run.previews >= 3) {
      during = true;
      await shot(page, "running");
    }
    if (run.end) break;
    await page.waitForTimeout(500);
  }
  report.run = await page.evaluate(() => window.__run);
}

// Files of the run that the server says it has saved, of the kinds that carry their graph.
function resultFiles() {
  const files = (report.run?.files ?? []).map((f) => path.join(task.output, f.subfolder, f.filename));
  return files.filter((file) => /\.(glb|png|webp|json)$/.test(file));
}

const lookAtNode = (page, type) => page.evaluate((wanted) => {
  const app = window.comfyAPI.app.app;
  const node = app.graph.nodes.find((n) => n.type === wanted);
  if (!node) return false;
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [-node.pos[0] + 500, -node.pos[1] + 250];
  app.canvas.setDirty(true, true);
  return true;
}, type);

async function lookAtViewer(page) {
  if (!(await lookAtNode(page, task.viewer))) return;
  await page.waitForTimeout(3000);
  const loading = page.getByText("Loading 3D Model");
  for (let i = 0; i < 120 && (await loading.count()) && (await loading.first().isVisible()); i++) {
    await page.waitForTimeout(500);
  }
  await page.waitForTimeout(3000);
  await shot(page, "viewer");
  const boxes = [];
  for (const canvas of await page.locator("canvas").all()) {
    const box = await canvas.boundingBox();
    const id = await canvas.getAttribute("id");
    if (box && id !== "graph-canvas" && box.width > 60 && box.height > 60) boxes.push(box);
  }
  report.viewerBoxes = boxes;
}

let code = 0;
try {
  const page = await openPage();
  note("page open");
  if (task.vueNodes !== undefined) {
    await page.evaluate((on) => window.comfyAPI.app.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on),
      task.vueNodes);
    await page.waitForTimeout(1000);
  }
  if (task.templates) await showTemplates(page);
  if (!task.openTemplate) await loadWorkflow(page);
  await page.waitForTimeout(2000);
  report.graph = await describeGraph(page);
  if (task.look) { // at the zoom that the template opens with
    await shot(page, "opened");
    report.before = { nodes: await nodeRectangles(page), letters: await letters(page) };
  }
  await page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await page.waitForTimeout(1500);
  await shot(page, "loaded");
  if (task.click) {
    await page.getByText(task.click, { exact: true }).first().click();
    await page.waitForTimeout(1500);
    await shot(page, "clicked");
  }
  report.text = await page.evaluate(() => document.body.innerText);
  note("workflow loaded");
  await setWidgets(page);
  if (task.stage) {
    report.stage = await showStage(page, task.stage);
    await page.waitForTimeout(1500);
    await shot(page, "stage");
  }
  if (task.results) await watchEnd(page);
  if (task.run) await runGraph(page);
  await page.waitForTimeout(2000);
  await shot(page, "finished");
  if (task.look) report.after = { nodes: await nodeRectangles(page) };
  if (task.viewer) await lookAtViewer(page);
  if (task.look) {
    await otherRenderer(page);
    report.afterOther = { nodes: await nodeRectangles(page), letters: await letters(page) };
    await shot(page, "other_renderer");
  }
  if (task.appMode) {
    report.app = await appMode(page);
    await shot(page, "app");
  }
  if (task.results) { // adds nodes
    report.ended = await page.evaluate(() => window.__ended);
    report.results = await useResults(page);
    await shot(page, "results");
  }
  if (task.drop) report.dropped = await dropFiles(page, [...resultFiles(), ...task.drop]);
  if (task.help) report.help = await refuseAndHelp(page, shot);
  if (task.graphs) report.graphs = await openGraphs(page, task.graphs);
} catch (error) {
  report.crash = String(error.stack || error);
  code = 1;
  for (const page of browser.contexts().flatMap((c) => c.pages())) await shot(page, "crash").catch(() => {});
} finally {
  fs.writeFileSync(path.join(task.out, "report.json"), JSON.stringify(report, null, 1));
  await browser.close();
}
process.exit(code);
