// While a stage runs: a curve of its losses and scores, and its surface in ComfyUI's own 3D viewer, inside of its node.
// The widget comes with the first numbers, so that a graph opens with the sizes that it was saved with.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { drawCurve, linesOf, writeLegend } from "./curve.js";
import { addressOf, nodeOf } from "./page.js";

const NAME = "lift123_live";
const ROW = 150, LEGEND = 34; // pixels
const panels = new WeakMap();
let view; // the one that shows a surface: {panel, viewer}; a page has few WebGL contexts

function element(style, kind = "div") {
  return Object.assign(document.createElement(kind), { style });
}

function panelOf(node) {
  const known = panels.get(node);
  if (known && node.widgets?.includes(known.widget)) return known;
  if (!node.addDOMWidget) return undefined;
  const whole = element(`width:100%; min-height:${ROW + LEGEND}px; height:${ROW + LEGEND}px; display:flex; flex-direction:column;`);
  const row = element("flex:1 1 0; min-height:0; display:flex; gap:4px;");
  const canvas = element("flex:1 1 0; min-width:0; height:100%; background:rgba(0,0,0,0.25); border-radius:4px;", "canvas");
  const legend = element(`flex:none; height:${LEGEND}px; overflow:hidden; display:flex; flex-wrap:wrap; align-content:center;` +
    "column-gap:10px; font:11px/16px sans-serif;");
  row.append(canvas);
  whole.append(row, legend);
  whole.dataset.lift123 = "live";
  const widget = node.addDOMWidget(NAME, NAME, whole, {
    serialize: false, getMinHeight: () => ROW + LEGEND, getMaxHeight: () => ROW + LEGEND, getValue: () => "", setValue: () => {} });
  widget.serialize = false;
  const panel = { node, widget, row, canvas, legend };
  panels.set(node, panel);
  const size = node.computeSize?.();
  if (size && node.size[1] < size[1]) node.setSize([node.size[0], size[1]]);
  return panel;
}

function onCurve({ detail }) {
  const node = nodeOf(detail.node), panel = node && panelOf(node);
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
  view?.box.remove();
  view = undefined;
}

function openView(panel) {
  const make = window.comfyAPI?.createLoad3d?.createLoad3d;
  if (!make) return undefined; // an older or newer page: the curve and the turning preview stay
  closeView();
  const box = element("flex:1 1 0; min-width:0; height:100%; position:relative; overflow:hidden; border-radius:4px;");
  panel.row.append(box);
  view = { panel, box };
  view.viewer = make(box, { width: 320, height: 320 });
  view.viewer.toggleGrid?.(false);
  return view;
}

async function onSurface({ detail }) {
  const node = nodeOf(detail.node), panel = node && panelOf(node);
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
    if (panel.last) drawCurve(panel.canvas, ...panel.last); // it has half of the room now
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
  },
  beforeConfigureGraph: closeView, // another graph takes this one's place
});
