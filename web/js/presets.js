// A stage's numbers are its preset's unless they are set: their labels say what that is ("iterations (preset: 250)").
// The tables are the presets themselves; ``launch.py sync`` writes them.
import { app } from "../../../scripts/app.js";
import { FOLLOWED, LONGER, NUMBERS } from "./preset_numbers.js";

const plain = new WeakMap(); // widget -> its label as the page translated it
const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

// A value that shows outside of a subgraph is the one outside; a node of settings names the preset that it follows.  What
// comes by another wire is not known here.
function valueOf(node, name) {
  const slot = node.inputs?.find((input) => input.widget?.name === name);
  if (slot?.link == null) return widgetOf(node, name)?.value;
  const origin = node.graph?.getNodeById?.(node.graph.getLink?.(slot.link)?.origin_id);
  if (FOLLOWED[origin?.comfyClass]) return FOLLOWED[origin.comfyClass][valueOf(origin, "follow")];
  const shown = node.graph?.inputNode?.slots?.find((entry) => entry.linkIds?.includes(slot.link))?.name;
  const hosts = [...(app.graph?.nodes ?? [])].filter((host) => host.subgraph && host.subgraph === node.graph);
  return hosts.length === 1 ? widgetOf(hosts[0], shown)?.value : undefined;
}

function labelOf({ name, value }, label, numbers, quality) {
  const number = numbers?.[name];
  if (number === undefined || value > 0 || (value === 0 && /_weight$|^smooth_/.test(name))) return label;
  const factor = LONGER[name] ? LONGER[name][quality ?? "normal"] : 1;
  return `${label} (preset: ${factor === 1 ? number : Math.max(1, Math.round(factor * number))})`;
}

function relabel(node) {
  const stages = NUMBERS[node.comfyClass];
  if (!stages) return;
  const numbers = stages[valueOf(node, "preset")], quality = valueOf(node, "quality");
  for (const widget of node.widgets ?? []) {
    if (!Object.values(stages).some((entry) => widget.name in entry)) continue;
    if (!plain.has(widget)) plain.set(widget, widget.label || widget.name);
    widget.label = labelOf(widget, plain.get(widget), numbers, quality);
  }
}

app.registerExtension({
  name: "lift123.presets",
  setup() {
    app.canvas?.canvas?.addEventListener?.("litegraph:set-graph", () => app.canvas.graph?.nodes?.forEach(relabel));
  },
  nodeCreated(node) {
    if (!NUMBERS[node.comfyClass]) return;
    for (const widget of node.widgets ?? []) {
      const before = widget.callback;
      widget.callback = function (...given) {
        const result = before?.apply(this, given);
        relabel(node);
        return result;
      };
    }
    relabel(node);
  },
  loadedGraphNode: relabel,
});
