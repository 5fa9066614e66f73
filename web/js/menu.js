// What a right click on a node with results offers: its path, its folder, a comparison, and its picture as the next reference.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { addressOf, isOurs, tell } from "./page.js";

const COMPARE = "Lift123_CompareRuns";

function resultsOf(node) {
  const graph = node.graph, key = !graph || graph === (app.rootGraph ?? app.graph) ? `${node.id}` : `${graph.id}:${node.id}`;
  const found = app.nodeOutputs?.[key] ?? {};
  return { files: found.lift123_files?.[0], picture: found.images?.[0] };
}

const pathOf = (file) => [file.subfolder, file.filename].filter(Boolean).join("/");

function mainOf(files) {
  return files.glb ?? Object.values(files)[0];
}

async function copyPath(file) {
  const path = `${file.type ?? "output"}/${pathOf(file)}`;
  try {
    await navigator.clipboard.writeText(path);
    tell("info", `Copied: ${path}`, 4000);
  } catch {
    tell("info", path, 15000); // pages without a secure address have no clipboard
  }
}

async function openFolder(file) {
  const answer = await api.fetchApi("/lift123/open_folder", { method: "POST", body: JSON.stringify({ subfolder: file.subfolder }) });
  if (!answer.ok) tell("warn", (await answer.json().catch(() => ({}))).error ?? "The folder cannot be opened.", 8000);
}

// Below everything that is there, so that it covers nothing.
function addNode(type, graph, x) {
  const node = window.LiteGraph?.createNode(type);
  if (!node) return undefined;
  node.pos = [x, Math.max(...graph.nodes.map((other) => other.pos[1] + other.size[1])) + 90];
  graph.add(node);
  return node;
}

function put(node, name, value) {
  const widget = node.widgets?.find((w) => w.name === name);
  if (!widget) return;
  if (Array.isArray(widget.options?.values) && !widget.options.values.includes(value)) widget.options.values.push(value);
  widget.value = value;
  widget.callback?.(value);
}

function sendToCompare(node, file) {
  const run = pathOf(file).replace(/manifest\.json$/, "");
  const known = node.graph.nodes.find((n) => n.comfyClass === COMPARE);
  const target = known ?? addNode(COMPARE, node.graph, node.pos[0]);
  if (!target) return;
  const value = (name) => target.widgets.find((w) => w.name === name)?.value;
  if (value("run_a") && value("run_b")) put(target, "run_a", value("run_b")); // the older one makes room
  put(target, value("run_a") ? "run_b" : "run_a", run);
  tell("info", `${value("run_b") ? "Queue the graph to compare" : "Waits for a second run:"} ${run}`, 6000);
}

async function useAsReference(node, picture) {
  const shown = new Image();
  shown.src = addressOf(picture);
  await shown.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: shown.naturalWidth, height: shown.naturalHeight });
  canvas.getContext("2d").drawImage(shown, 0, 0); // of an animation, its first picture
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const body = new FormData();
  body.append("image", blob, `${picture.filename.replace(/\.\w+$/, "")}.png`);
  body.append("subfolder", "lift123");
  const answer = await (await api.fetchApi("/upload/image", { method: "POST", body })).json();
  const loader = addNode("LoadImage", node.graph, node.pos[0]);
  if (loader) put(loader, "image", [answer.subfolder, answer.name].filter(Boolean).join("/"));
}

function offered(node) {
  if (!isOurs(node)) return [];
  const { files, picture } = resultsOf(node);
  const items = [];
  if (files) {
    items.push({ content: "Copy path", callback: () => copyPath(mainOf(files)) });
    items.push({ content: "Open folder", callback: () => openFolder(mainOf(files)) });
  }
  if (files?.manifest) items.push({ content: "Send to Compare", callback: () => sendToCompare(node, files.manifest) });
  if (picture) items.push({ content: "Use as reference", callback: () => useAsReference(node, picture) });
  return items.length ? [null, ...items] : [];
}

app.registerExtension({ name: "lift123.menu", getNodeMenuItems: offered });
