// A place for an element of ours at the end of a node, in both node renderers, also of a closed subgraph's node.
//
// ComfyUI's DOM widget is the way.  Some versions of its page take none on a subgraph's node: there the canvas lists the
// widgets that the subgraph shows from inside, and Nodes 2.0 draws those alone.  Then the one node lists ours behind its own,
// and in Nodes 2.0 the element stands at the end of the node's body.

import { app } from "../../../scripts/app.js";

const AGAIN = 300, TIMES = 40; // milliseconds between drawing again, and how often: a picture may come late

/** The canvas renderer gives a new element its place when it draws the next time, which may be when the mouse moves; until then
 * it covers everything. */
export function drawAgain() {
  for (let k = 1; k <= TIMES; k++) setTimeout(() => app.canvas?.setDirty(true, true), k * AGAIN);
}

/** Adds element to node as a DOM widget; height: a function, pixels; more: further options of the widget.  Undefined where the
 * page has no such widgets. */
export function addSeat(node, name, element, height, more = {}) {
  const widget = node.addDOMWidget?.(name, name, element, { serialize: false, hideOnZoom: false, getMinHeight: height,
    getMaxHeight: height, getValue: () => "", setValue: () => {}, ...more });
  if (!widget) return undefined;
  widget.serialize = false;
  drawAgain();
  const listed = Object.getOwnPropertyDescriptor(node, "widgets");
  if (listed?.get && !node.widgets.some((other) => other.name === name)) {
    Object.defineProperty(node, "widgets", { ...listed, get: () => [...listed.get.call(node), widget] });
  }
  return widget;
}

// Below all else in the node's body, with its margin.  Turning a surface is no dragging of the node.
function corner(body) {
  const made = Object.assign(document.createElement("div"), { style: "padding:0 12px;" });
  for (const type of ["pointerdown", "pointermove", "pointerup"]) made.addEventListener(type, (event) => event.stopPropagation());
  body.append(made);
  return made;
}

/** Puts element where it is seen, if the page does not do so by itself. */
export function takeSeat(node, element) {
  const body = element.isConnected ? undefined : document.querySelector(`[data-testid="node-body-${node.id}"]`);
  if (body && node.isSubgraphNode?.()) corner(body).append(element);
}
