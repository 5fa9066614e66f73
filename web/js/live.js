// While a stage runs: a curve of its losses and scores, and its surface in ComfyUI's own 3D viewer, inside of its node; in a
// closed subgraph's node, for the stage in it, also its text and its turning picture, which ComfyUI shows in an open one only.
// The widget comes with the first numbers, so that a graph opens with the sizes that it was saved with.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { drawCurve, linesOf, writeLegend } from "./curve.js";
import { addView, comeBack, dropPictures, dropView, panelOf, setPicture, setText } from "./live_panel.js";
import { addressOf, isOurs, nodeInSight, pathTo } from "./page.js";
import { takeSeat } from "./seat.js";

let view; // the one that shows a surface: {panel, box, viewer}; a page has few WebGL contexts

// The panel of the node that shows what the node of this id does, once it is in sight.
async function shownAt(id) {
  const node = nodeInSight(id), panel = node && panelOf(node);
  if (!panel || panel.whole.isConnected) return panel;
  await new Promise((done) => setTimeout(done, 100)); // the page goes first
  takeSeat(node, panel.whole);
  return panel;
}

// Is this the id of a node of ours inside of a subgraph that is not open?
function isInside(id) {
  const inner = pathTo(id).at(-1);
  return !!inner && isOurs(inner) && nodeInSight(id) !== inner;
}

async function onCurve({ detail }) {
  const panel = await shownAt(detail.node);
  if (!panel) return;
  const lines = linesOf(detail);
  panel.last = [lines, detail.total];
  writeLegend(panel.legend, lines);
  requestAnimationFrame(() => drawCurve(panel.canvas, ...panel.last));
}

async function onText({ detail }) {
  if (isInside(detail?.nodeId)) setText(await shownAt(detail.nodeId), String(detail.text ?? ""));
}

async function onPicture({ detail }) {
  if (isInside(detail?.displayNodeId)) setPicture(await shownAt(detail.displayNodeId), detail.blob);
}

function closeView() {
  try {
    view?.viewer?.remove?.();
  } catch (problem) {
    console.debug("lift123: the viewer did not close", problem);
  }
  if (view) dropView(view.panel, view.box);
  view = undefined;
}

function close() {
  closeView();
  dropPictures();
}

function openView(panel) {
  const make = window.comfyAPI?.createLoad3d?.createLoad3d;
  if (!make) return undefined; // an older or newer page: the curve and the turning preview stay
  closeView();
  const box = addView(panel);
  view = { panel, box };
  view.viewer = make(box, { width: 320, height: 320 });
  view.viewer.toggleGrid?.(false);
  view.viewer.viewHelperManager?.visibleViewHelper?.(false); // it would cover half of so small a view
  return view;
}

async function onSurface({ detail }) {
  const panel = await shownAt(detail.node);
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
    api.addEventListener("progress_text", onText);
    api.addEventListener("b_preview_with_metadata", onPicture);
    const later = () => setTimeout(() => comeBack(app.canvas?.graph), 500); // the page goes first
    app.ui?.settings?.addEventListener?.("Comfy.VueNodes.Enabled.change", later);
    app.canvas?.canvas?.addEventListener?.("litegraph:set-graph", later); // into a subgraph and out again
    // what came of it is shown elsewhere; the curve and the last text stay
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(end, close);
  },
  beforeConfigureGraph: close, // another graph takes this one's place
});
