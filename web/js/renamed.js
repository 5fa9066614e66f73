// Graphs that were saved under former names open with today's, before the page calls anything missing.
// The tables are host/renamed.py's; ``launch.py sync`` writes them.
import { app } from "../../../scripts/app.js";
import { CHOICES, NODES } from "./renamed_tables.js";

function renameNodes(nodes) {
  for (const node of nodes ?? []) {
    if (!Object.hasOwn(NODES, node.type)) continue;
    const former = node.type;
    node.type = NODES[former];
    // the page finds a node's definition by this property when it looks for missing ones
    if (node.properties?.["Node name for S&R"] === former) node.properties["Node name for S&R"] = node.type;
  }
}

app.registerExtension({
  name: "lift123.renamed",
  beforeConfigureGraph(graph) {
    renameNodes(graph.nodes);
    for (const subgraph of graph.definitions?.subgraphs ?? []) renameNodes(subgraph.nodes);
  },
  loadedGraphNode(node) {
    for (const widget of node.widgets ?? []) {
      const choices = CHOICES[node.type]?.[widget.name] ?? {};
      if (Object.hasOwn(choices, widget.value)) widget.value = choices[widget.value];
    }
  },
});
