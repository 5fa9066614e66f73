// Values are saved by place, so a node whose inputs have another order today would read them wrongly: the graph's own
// list of inputs says which value is whose.
import { app } from "../../../scripts/app.js";

const OURS = "Lift123_";

// Seeds and uploads are followed by a value of their own.
const places = (options) => (options?.control_after_generate || options?.image_upload ? 2 : 1);

export function reordered(node, definition) {
  const specs = { ...definition.input?.required, ...definition.input?.optional };
  const today = ["required", "optional"].flatMap((part) => definition.input_order?.[part] ?? []);
  const saved = (node.inputs ?? []).filter((slot) => slot.widget).map((slot) => slot.name);
  const order = today.filter((name) => saved.includes(name));
  if (order.length !== saved.length || order.every((name, n) => name === saved[n])) return node.widgets_values;
  const values = [...(node.widgets_values ?? [])], named = {};
  for (const name of saved) named[name] = values.splice(0, places(specs[name]?.[1]));
  return values.length ? node.widgets_values : order.flatMap((name) => named[name]);
}

function reorderNodes(nodes, known) {
  for (const node of nodes ?? []) {
    const definition = node.type?.startsWith?.(OURS) && known[node.type]?.nodeData;
    if (definition && Array.isArray(node.widgets_values) && !node.widgets_values_named) {
      node.widgets_values = reordered(node, definition);
    }
  }
}

app.registerExtension({
  name: "lift123.reordered",
  beforeConfigureGraph(graph) {
    const known = window.LiteGraph.registered_node_types;
    for (const part of [graph, ...(graph.definitions?.subgraphs ?? [])]) reorderNodes(part.nodes, known);
  },
});
