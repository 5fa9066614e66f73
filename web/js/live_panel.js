// The element that shows a running stage: text and turning picture (in a closed subgraph's node), curve, names, surface.
import { drawCurve } from "./curve.js";
import { addSeat, takeSeat } from "./seat.js";

const NAME = "lift123_live";
const CURVE = 110, VIEW = 190, BESIDE = 150, LEGEND = 66; // pixels: curve alone, view below it, both side by side, names
const WORDS = 80; // a closed subgraph's text: state, losses, iteration; longer lines wrap and are cut
const TEXT = 44; // what the node's text needs beyond its two lines
const NARROW = 320; // nodes with less room show the view below the curve
const GAP = 4, SEAM = 20; // between our rows; what ComfyUI keeps free above and below a DOM widget on the canvas
const panels = new WeakMap(), pictured = new Set(), outsides = new Set();

function element(style, kind = "div") {
  return Object.assign(document.createElement(kind), { style });
}

// Pixels.  outside: it shows what a stage inside of this node does.
function heightOf({ outside, narrow, view, picture, words }) {
  if (outside) return CURVE + LEGEND + (words ? WORDS + GAP : 0) + (view || picture ? BESIDE + GAP : 0);
  return narrow ? CURVE + LEGEND + (view ? VIEW + GAP : 0) : BESIDE + LEGEND;
}

/** Gives the panel and its node the room that they need now. */
export function fit(panel) {
  const { node, whole } = panel;
  whole.style.height = whole.style.minHeight = `${heightOf(panel)}px`;
  if (panel.shelf) panel.shelf.style.display = panel.view || panel.picture ? "flex" : "none";
  const least = (node.computeSize?.()[1] ?? 0) + (panel.outside ? 0 : TEXT);
  node.setSize?.([node.size[0], Math.max(panel.before, least)]);
  if (panel.last) requestAnimationFrame(() => drawCurve(panel.canvas, ...panel.last)); // it has another size now
}

function build(node) {
  const outside = !!node.isSubgraphNode?.(), narrow = node.size[0] < NARROW;
  const whole = element(`width:100%; display:flex; flex-direction:column; gap:${outside ? GAP : 0}px;`);
  const row = element(`flex:1 1 0; min-height:0; display:flex; gap:4px; flex-direction:${narrow ? "column" : "row"};`);
  const canvas = element("flex:1 1 0; min-width:0; min-height:0; width:100%; background:rgba(0,0,0,0.25); border-radius:4px;",
    "canvas");
  const legend = element(`flex:none; height:${LEGEND}px; overflow:hidden; display:flex; flex-wrap:wrap; align-content:flex-start;` +
    "column-gap:10px; font:11px/13px sans-serif;");
  canvas.dataset.lift123 = "curve";
  row.append(canvas);
  whole.append(row, legend);
  whole.dataset.lift123 = "live";
  return { node, outside, narrow, whole, row, canvas, legend, before: node.size[1], view: false };
}

// Above the curve: one for the turning picture and the surface.
function pictures(panel) {
  if (!panel.shelf) {
    panel.shelf = element(`flex:none; height:${BESIDE}px; display:flex; gap:4px;`);
    panel.row.before(panel.shelf);
  }
  return panel.shelf;
}

/** The node's panel, made when it is first asked for; undefined where the page has no place for it. */
export function panelOf(node) {
  const known = panels.get(node);
  if (known) return known;
  const panel = build(node);
  if (!addSeat(node, NAME, panel.whole, () => heightOf(panel) + (panel.outside ? SEAM : 0))) return undefined;
  panels.set(node, panel);
  if (panel.outside) outsides.add(panel);
  fit(panel);
  return panel;
}

/** After the page has drawn the nodes of this graph anew: panels of closed subgraphs come back to them. */
export function comeBack(open) {
  for (const panel of outsides) {
    const { node, whole } = panel;
    if (node.graph && node.graph !== open) continue;
    if (open?.getNodeById(node.id) !== node) { // another graph has taken its place
      outsides.delete(panel);
      continue;
    }
    takeSeat(node, whole);
    if (panel.last) requestAnimationFrame(() => drawCurve(panel.canvas, ...panel.last));
  }
}

/** An empty box for the surface; the panel grows by it. */
export function addView(panel) {
  const column = panel.narrow && !panel.outside;
  const box = element("min-width:0; min-height:0; position:relative; overflow:hidden; border-radius:4px;" +
    (column ? `flex:none; height:${VIEW}px;` : "flex:1 1 0; height:100%;"));
  (panel.outside ? pictures(panel) : panel.row).append(box);
  panel.view = true;
  fit(panel);
  return box;
}

/** Takes the box of addView away. */
export function dropView(panel, box) {
  box.remove();
  panel.view = false;
  if (panel.node.graph) fit(panel);
}

/** Lines of text; the first is the state. */
export function setText(panel, text) {
  if (!panel) return;
  if (!panel.words) {
    panel.words = element(`flex:none; height:${WORDS}px; overflow:hidden; font:12px/16px sans-serif; white-space:pre-line;` +
      "color:var(--fg-color, #ddd);");
    panel.whole.prepend(panel.words);
    fit(panel);
  }
  panel.words.textContent = text.replace(/ *\n/g, "\n");
}

/** The turning picture: a Blob. */
export function setPicture(panel, blob) {
  if (!panel || !blob) return;
  if (!panel.picture) {
    panel.picture = element("flex:1 1 0; min-width:0; height:100%; object-fit:contain;", "img");
    panel.picture.dataset.lift123 = "picture";
    pictures(panel).prepend(panel.picture);
    pictured.add(panel);
    fit(panel);
  }
  const former = panel.picture.src;
  panel.picture.src = URL.createObjectURL(blob);
  if (former) URL.revokeObjectURL(former);
}

/** Takes all turning pictures away. */
export function dropPictures() {
  for (const panel of pictured) {
    URL.revokeObjectURL(panel.picture.src);
    panel.picture.remove();
    panel.picture = undefined;
    if (panel.node.graph) fit(panel);
  }
  pictured.clear();
}
