// Colors: one per type of our wires, and ComfyUI's own colors of nodes by category.
import { app } from "../../../scripts/app.js";
import { ROOMS } from "./node_rooms.js";
import { isOurs, setting } from "./page.js";

const WIRES = {
  LIFT123_REFERENCE: "#8fd694", LIFT123_VIEW_NETWORK: "#d9a3ff", LIFT123_TEXT_NETWORK: "#ff9ecb", LIFT123_CLIP: "#ffe08a",
  LIFT123_DEPTH: "#7cc7ff", LIFT123_DEPTH_TEXT: "#5aa0e0", LIFT123_PRIOR: "#b57cff", LIFT123_DISTILLATION: "#e56bd8",
  LIFT123_LOSSES: "#ff7b72", LIFT123_SCHEDULE: "#c9b458", LIFT123_BOUNDARY: "#f2c14e", LIFT123_SCENE: "#4fd1c5",
  LIFT123_OPTIONS: "#a3adba", LIFT123_CANONICAL: "#f7a072", LIFT123_MULTIVIEW: "#e07a5f", LIFT123_SLRM: "#c8553d",
  LIFT123_CHARACTER_VIEWS: "#9fe0a0", LIFT123_LAYERS: "#3fb8af", LIFT123_RIG: "#c0d860", LIFT123_RIGGED: "#8ac926",
  LIFT123_MOTION: "#6ee7f2",
};
// Where a node stands in the menu -> the name of one of the colors in ComfyUI's own node menu.
const NODES = {
  reference: "green", networks: "brown", priors: "purple", losses: "red", stages: "pale_blue", characters: "cyan",
  output: "yellow",
};

// A palette blanks the types that it does not name, so ours are told again after each.
function colorWires() {
  if (setting("Lift123.Looks.colors") === false || !app.canvas) return;
  for (const table of [app.canvas.default_connection_color_byType, app.canvas.constructor?.link_type_colors]) {
    if (table) for (const [type, color] of Object.entries(WIRES)) table[type] ||= color;
  }
  const style = app.canvas.canvas?.ownerDocument?.documentElement?.style;
  for (const [type, color] of Object.entries(WIRES)) style?.setProperty(`--color-datatype-${type}`, color);
  app.canvas.setDirty?.(true, true);
}

function colorNode(node) {
  if (!isOurs(node) || node.color || setting("Lift123.Looks.colors") === false) return;
  const color = app.canvas?.constructor?.node_colors?.[NODES[ROOMS[node.comfyClass]]]; // nodeData's category is a translated word
  if (color) Object.assign(node, { color: color.color, bgcolor: color.bgcolor });
}

app.registerExtension({
  name: "lift123.looks",
  settings: [
    { id: "Lift123.Looks.colors", category: ["Lift123", "Looks", "colors"], name: "Colors of wires and nodes", type: "boolean",
      defaultValue: true, tooltip: "One color per type of wire and per category of node; a graph's own colors stay." },
  ],
  setup() {
    colorWires();
    app.ui?.settings?.addEventListener?.("Comfy.ColorPalette.change", () => setTimeout(colorWires, 200));
  },
  afterConfigureGraph: colorWires,
  nodeCreated: colorNode,
});
