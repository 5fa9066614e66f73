// While a stage runs: a curve of its losses and scores, and its surface in ComfyUI's own 3D viewer, inside of its node.
// The widget comes with the first numbers, so that a graph opens with the sizes that it was saved with.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { drawCurve, linesOf, writeLegend } from "./curve.js";
import { addressOf, nodeOf } from "./page.js";

const NAME = "lift123_live";
const CURVE = 110, VIEW = 190, BESIDE = 150, LEGEND = 66; // pixels: curve alone, view below it, both side by side, names
const TEXT = 44; // what the node's text needs beyond its two lines
const NARROW = 320; // nodes with less room show the view below the curve
const ENDS = ["Lift123_BakeExport", "Lift123_ExportCharacter"];
const panels = new WeakMap();
let view; // the one that shows a surface: {panel, box, viewer}; a page has few WebGL contexts

function element(style, kind = "div") {
  return Object.assign(document.createElement(kind), { style });
}

// A stage inside of a subgraph that is not open is not in sight, and the subgraph's node takes no widgets of ours: then
// the node shows it in which the result will be.
function targetOf(id) {
  const node = nodeOf(id), open = app.canvas?.graph;
  if (!node || !open || node.graph === open) return node;
  return open.nodes.find((other) => ENDS.includes(other.comfyClass)) ?? node;
}

function heightOf(panel) {
  if (!panel.narrow) return BESIDE + LEGEND;
  return CURVE + LEGEND + (view?.panel === panel ? VIEW + 4 : 0);
}

function fit(panel) {
  const { node, whole } = panel;
  whole.style.height = whole.style.minHeight = `${heightOf(panel)}px`;
  const least = (node.computeSize?.()[1] ?? 0) + TEXT;
  node.setSize?.([node.size[0], Math.max(panel.before, least)]);
  if (panel.last) requestAnimationFrame(() => drawCurve(panel.canvas, ...panel.last)); // it has another size now
}

function panelOf(node) {
  const known = panels.get(node);
  if (known) return known;
  const narrow = node.size[0] < NARROW;
  const whole = element("width:100%; display:flex; flex-direction:column;");
  const row = element(`flex:1 1 0; min-height:0; display:flex; gap:4px; flex-direction:${narrow ? "column" : "row"};`);
  const canvas = element("flex:1 1 0; min-width:0; min-height:0; width:100%; background:rgba(0,0,0,0.25); border-radius:4px;",
    "canvas");
  const legend = element(`flex:none; height:${LEGEND}px; overflow:hidden; display:flex; flex-wrap:wrap; align-content:flex-start;` +
    "column-gap:10px; font:11px/13px sans-serif;");
  row.append(canvas);
  whole.append(row, legend);
  whole.dataset.lift123 = "live";
  const panel = { node, narrow, whole, row, canvas, legend, before: node.size[1] };
  const height = () => heightOf(panel);
  panel.widget = node.addDOMWidget?.(NAME, NAME, whole, { serialize: false, hideOnZoom: false, getMinHeight: height,
    getMaxHeight: height, getValue: () => "", setValue: () => {} });
  if (!panel.widget) return undefined;
  panel.widget.serialize = false;
  panels.set(node, panel);
  fit(panel);
  return panel;
}

function onCurve({ detail }) {
  const node = targetOf(detail.node), panel = node && panelOf(node);
  if (!panel) return;
  const lines = linesOf(detail);
  panel.last = [lines, detail.total];
  writeLegend(panel.legend, lines);
  requestAnimationFrame(() => drawCurve(panel.canvas, ...panel.last));
}

function closeView() {
  try {
    view?.viewer?.remove?.();
  } catch (problem) {
    console.debug("lift123: the viewer did not close", problem);
  }
  const panel = view?.panel;
  view?.box.remove();
  view = undefined;
  if (panel?.node.graph) fit(panel);
}

function openView(panel) {
  const make = window.comfyAPI?.createLoad3d?.createLoad3d;
  if (!make) return undefined; // an older or newer page: the curve and the turning preview stay
  closeView();
  const box = element("min-width:0; min-height:0; position:relative; overflow:hidden; border-radius:4px;" +
    (panel.narrow ? `flex:none; height:${VIEW}px;` : "flex:1 1 0; height:100%;"));
  panel.row.append(box);
  view = { panel, box };
  fit(panel);
  view.viewer = make(box, { width: 320, height: 320 });
  view.viewer.toggleGrid?.(false);
  view.viewer.viewHelperManager?.visibleViewHelper?.(false); // it would cover half of so small a view
  return view;
}

async function onSurface({ detail }) {
  const node = targetOf(detail.node), panel = node && panelOf(node);
  if (!panel) return;
  try {
    const shown = view?.panel === panel && view.box.isConnected ? view : openView(panel);
    if (!shown || shown.busy) return;
    shown.busy = true;
    const camera = shown.loaded ? shown.viewer.getCameraState?.() : undefined; // where a hand has turned it
    await shown.viewer.loadModel(addressOf(detail.file), detail.file.filename);
    if (camera) shown.viewer.setCameraState?.(camera);
    shown.loaded = true;
    shown.busy = false;
    shown.box.dataset.lift123 = `surface ${detail.step}`;
  } catch (problem) {
    console.warn("lift123: the surface is not shown", problem);
    closeView();
  }
}

app.registerExtension({
  name: "lift123.live",
  setup() {
    api.addEventListener("lift123.curve", onCurve);
    api.addEventListener("lift123.surface", onSurface);
    // what came of it is shown elsewhere; the curve stays
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(end, closeView);
  },
  beforeConfigureGraph: closeView, // another graph takes this one's place
});
