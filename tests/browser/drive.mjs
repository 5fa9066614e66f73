// Drives ComfyUI's page as a person would: load a workflow, queue it, watch it, look at the result.
// Usage: node drive.mjs NODE_FOLDER CHROMIUM, then the path of a TASK.json on each line of standard input (see test_browser.py for
// tasks); each writes report.json and PNGs into task.out and is answered by a line.  Tasks share one page of a server: loading
// ComfyUI's page costs more than most of what is done there.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { closeDialogs, launch, steady } from "./chromium.mjs";
import { refuseAndHelp } from "./help.mjs";
import { appMode, dropFiles, fitView, letters, lookAt, openGraphs, picturesOf, renderer, settled, viewOf } from "./looks.mjs";
import { lookAtStage, showStage, useResults, watchEnd } from "./parts.mjs";
import { runGraph } from "./run.mjs";
import { showTemplates } from "./templates.mjs";
import { lookAtViewer } from "./viewer.mjs";

const pages = new Map(); // address of a server and folder of another page than its own -> that page
let browser, report; // the present task's

// What a page says goes into the report of the task that is at work.
function listen(page) {
  page.on("console", (m) => m.type() === "error" && report.errors.push({ text: m.text(), url: m.location().url }));
  page.on("pageerror", (e) => report.errors.push({ text: String(e.stack || e), url: "" }));
  page.on("response", (r) => {
    const [, file] = /\/workflow_templates\/.*?([^/]+\.jpg)$/.exec(r.url()) ?? []; // shown from blobs: the network alone tells
    if (file) report.thumbnails[decodeURIComponent(file)] = r.status();
    if (r.status() >= 400) report.failedRequests.push(`${r.status()} ${r.url()}`);
  });
}

// The page's own files come from a folder, as a server with --front-end-root gives them; the rest from the server.
async function bringPage(page, url, folder) {
  await page.context().grantPermissions(["local-network-access"]); // a file that no server sent is a stranger to ours
  await page.route((asked) => asked.origin === new URL(url).origin, (route) => {
    const name = decodeURIComponent(new URL(route.request().url()).pathname);
    const file = path.join(folder, name === "/" ? "index.html" : name);
    return fs.existsSync(file) && fs.statSync(file).isFile() ? route.fulfill({ path: file }) : route.fallback();
  });
}

async function openPage({ url, page: folder }) {
  // A first visit opens a tutorial over whatever is loaded, at a time of its own.
  await fetch(`${url}/settings/Comfy.TutorialCompleted`, { method: "POST", body: "true" });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 }, reducedMotion: "reduce" });
  page.setDefaultTimeout(180000); // two busy cores draw WebGL and optimize at once
  listen(page);
  // Nothing outside this machine may be needed.
  await page.route((asked) => !["127.0.0.1", "localhost"].includes(asked.hostname) && asked.protocol.startsWith("http"),
    (route) => route.abort());
  if (folder) await bringPage(page, url, folder);
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => {
    const app = window.comfyAPI?.app?.app;
    return app?.canvas?.graph && app.extensionManager?.workflow?.activeWorkflow
      && Object.keys(window.LiteGraph.registered_node_types).length > 100;
  });
  await steady(page, () => [window.comfyAPI.app.app.graph.nodes.length, document.body.innerText.length]);
  await closeDialogs(page);
  return page;
}

async function loadWorkflow(page, file) {
  const workflow = JSON.parse(fs.readFileSync(file, "utf-8"));
  const name = path.basename(file, ".json"); // as the template browser opens it
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

async function setWidgets(page, widgets = {}) {
  return page.evaluate((wanted) => {
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
  }, widgets);
}

// Files of the run that the server says it has saved, of the kinds that carry their graph.
function resultFiles(task) {
  const files = (report.run?.files ?? []).map((f) => path.join(task.output, f.subfolder, f.filename));
  return files.filter((file) => /\.(glb|png|webp|json)$/.test(file));
}

// The graph as it opens: what it is, what is in sight.
async function open(page, task, picture) {
  if (task.templates) await showTemplates(page, task, report, picture);
  else if (task.workflow) await loadWorkflow(page, task.workflow);
  const nodes = await settled(page);
  report.graph = await describeGraph(page);
  if (task.look) { // at the zoom that the template opens with
    await picture("opened");
    report.before = { nodes, letters: await letters(page), view: await viewOf(page) };
  }
  await fitView(page);
  await picture("loaded");
  if (task.click) {
    await page.getByText(task.click, { exact: true }).first().click();
    await steady(page, () => document.body.innerText);
    await picture("clicked");
  }
  report.text = await page.evaluate(() => document.body.innerText);
  report.scripts = await page.evaluate(() => [...document.scripts].map((script) => script.src.split("/").pop()).filter(Boolean));
  report.set = await setWidgets(page, task.widgets);
}

// What is looked at once a graph has run.
async function lookAround(page, task, picture) {
  const curve = () => steady(page, () => document.querySelector('[data-lift123="curve"]')?.clientHeight);
  if (task.look) report.after = { nodes: await settled(page), curve: await curve() };
  if (task.pictures) {
    report.pictures = await picturesOf(page, ...task.pictures);
    await renderer(page, !task.vueNodes);
    report.picturesOther = await picturesOf(page, ...task.pictures);
  }
  await picture("finished");
  if (task.viewer) report.viewerBoxes = await lookAtViewer(page, task.viewer, picture);
  if (task.look) {
    await renderer(page, !task.vueNodes);
    await lookAt(page, report.before.view);
    report.afterOther = { nodes: await settled(page), letters: await letters(page), curve: await curve() };
    await picture("other_renderer");
  }
  if (task.appMode) report.app = await appMode(page, picture, !!task.run);
  if (task.results) { // adds nodes
    report.ended = await page.evaluate(() => window.__ended);
    report.results = await useResults(page);
    await picture("results");
  }
}

async function work(page, task) {
  const begun = Date.now();
  const note = (text) => {
    report.steps.push(`${((Date.now() - begun) / 1000).toFixed(1)} s: ${text}`);
    console.error(report.steps.at(-1)); // told with a failure
  };
  const picture = (name) => page.screenshot({ path: path.join(task.out, `${name}.png`) });
  await page.evaluate(() => window.comfyAPI.app.app.ui?.dialog?.close?.()); // what the task before has left
  await closeDialogs(page);
  await renderer(page, !!task.vueNodes);
  await open(page, task, picture);
  note("workflow loaded");
  if (task.stage) {
    report.stage = await showStage(page, task.stage);
    await picture("stage");
    await renderer(page, !task.vueNodes); // while it runs
    report.stageOther = await lookAtStage(page);
    await picture("stageOther");
    await renderer(page, !!task.vueNodes);
  }
  if (task.results) await watchEnd(page);
  if (task.run) report.run = await runGraph(page, task, report, picture);
  note("run");
  await lookAround(page, task, picture);
  note("looked around");
  if (task.drop) report.dropped = await dropFiles(page, [...resultFiles(task), ...task.drop]);
  note("dropped");
  if (task.help) report.help = await refuseAndHelp(page, picture);
  if (task.graphs) report.graphs = await openGraphs(page, task.graphs);
  note("done");
}

async function answer(task) {
  report = { errors: [], failedRequests: [], steps: [], thumbnails: {} };
  try {
    const key = `${task.url} ${task.page ?? ""}`;
    if (!pages.has(key)) pages.set(key, await openPage(task));
    await work(pages.get(key), task);
  } catch (error) {
    report.crash = String(error.stack || error);
    const crashed = browser.contexts().flatMap((c) => c.pages());
    for (const page of crashed) await page.screenshot({ path: path.join(task.out, "crash.png"), timeout: 20000 }).catch(() => {});
    for (const page of crashed) await page.close();
    pages.clear();
  }
  fs.writeFileSync(path.join(task.out, "report.json"), JSON.stringify(report, null, 1));
  console.log("done");
}

browser = await launch({ node: process.argv[2], chromium: process.argv[3] });
for await (const line of readline.createInterface({ input: process.stdin })) {
  await answer(JSON.parse(fs.readFileSync(line, "utf-8")));
}
await browser.close();
