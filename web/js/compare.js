// Compare Runs in the canvas renderer: ComfyUI shows the first picture of an output that moves, here the turntables, and no
// other; its curves and differences stand below, and open in full size.  Nodes 2.0 shows all three.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { addressOf } from "./page.js";
import { addSeat, drawAgain } from "./seat.js";

const NAME = "lift123_compared", KINDS = ["curves", "differences"];
const HEIGHT = 400, LEAST = [420, 900]; // pixels: of both; of a node in which all can be seen
const boxes = new WeakMap();

function boxOf(node) {
  if (!boxes.has(node)) {
    const box = Object.assign(document.createElement("div"), {
      style: `width:100%; height:${HEIGHT}px; display:flex; flex-direction:column; gap:4px;` });
    box.dataset.lift123 = "compared";
    boxes.set(node, addSeat(node, NAME, box, () => HEIGHT, { canvasOnly: true }) && box);
  }
  return boxes.get(node);
}

function picture(file) {
  const shown = Object.assign(document.createElement("img"), { src: addressOf(file), style:
    "flex:1 1 0; min-height:0; width:100%; object-fit:contain; background:#fff; border-radius:4px; cursor:zoom-in;" });
  shown.onclick = () => window.open(shown.src, "_blank");
  return shown;
}

function show(node, files) {
  const box = boxOf(node);
  box?.replaceChildren(...KINDS.filter((kind) => files[kind]).map((kind) => picture(files[kind])));
  node.setSize?.([0, 1].map((k) => Math.max(node.size[k], LEAST[k])));
}

app.registerExtension({
  name: "lift123.compare",
  setup() {
    api.addEventListener("executed", ({ detail }) => detail?.output?.animated?.some?.(Boolean) && drawAgain());
  },
  nodeCreated(node) {
    if (node.comfyClass !== "Lift123_CompareRuns") return;
    const { onExecuted } = node;
    node.onExecuted = function (output, ...more) {
      onExecuted?.call(this, output, ...more);
      const files = output?.lift123_files?.[0];
      if (files) show(this, files);
    };
  },
});
