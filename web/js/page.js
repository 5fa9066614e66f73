// What the other files share: the page's nodes, its toasts, and addresses of files.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

export const STAGES = ["Lift123_NerfStage1", "Lift123_DynamicStage2", "Lift123_DMTetRefine"];

/** A line in a corner of the page; life: milliseconds, undefined = until it is closed. */
export function tell(severity, detail, life) {
  app.extensionManager?.toast?.add({ severity, summary: "Lift123", detail, life });
}

export const setting = (id) => app.extensionManager?.setting?.get?.(id);

export const isOurs = (node) => String(node?.comfyClass ?? "").startsWith("Lift123_");

/** The nodes that lead to the one that the server calls by this id, itself last: "4:7" is node 7 inside of the subgraph node 4. */
export function pathTo(id) {
  const path = [];
  let graph = app.rootGraph ?? app.graph;
  for (const part of String(id).split(":")) {
    const node = graph?.getNodeById?.(Number(part)) ?? graph?.getNodeById?.(part);
    if (!node) return [];
    path.push(node);
    graph = node.subgraph;
  }
  return path;
}

/**
 * The node in the open graph in which the node of this id is in sight: itself, or the closed subgraph's node around it;
 * itself, too, where the open graph has neither; undefined where there is no such node.
 */
export function nodeInSight(id) {
  const path = pathTo(id), open = app.canvas?.graph;
  return path.find((node) => node.graph === open) ?? path.at(-1);
}

/** Where the server gives a file of its output, temp or input folder; always asked anew. */
export function addressOf(file) {
  const words = new URLSearchParams({ ...file, t: Date.now() });
  return api.apiURL(`/view?${words}`);
}
