// What the pack's own page parts do: curves, surface, colors, the menu on results, the shortcut, the word of a run's end.
import { steady } from "./chromium.mjs";

const FALL = [...Array(40).keys()].map((k) => 0.2 * Math.exp(-k / 12) * (1 + 0.2 * Math.sin(k)));

// What a stage sends while it runs.  node: as the server calls it; file: a GLB that the server has.
export async function showStage(page, { node, file, text }) {
  await page.evaluate(([id, glb, words, fall]) => {
    const { api } = window.comfyAPI.api;
    const send = (type, detail) => api.dispatchEvent(new CustomEvent(type, { detail }));
    send("lift123.curve", { node: id, total: 80, every: 1, steps: fall.map((_, k) => k + 1),
      losses: { rgb: fall, mask: fall.map((v) => 2 * v), prior: fall.map((v, k) => (k % 2 ? -v : null)) },
      scores: { "CLIP score": [[8, 0.2], [16, 0.24], [24, 0.27]] } });
    send("lift123.surface", { node: id, step: 40, total: 80, file: glb });
    send("progress_text", { nodeId: id, text: words });
    const picture = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    picture.getContext("2d").fillRect(8, 8, 40, 40);
    picture.toBlob((blob) => send("b_preview_with_metadata", { blob, nodeId: id, displayNodeId: id, jobId: "none" }));
  }, [node, file, text.replaceAll("\n", "  \n"), FALL]);
  await page.waitForFunction(() => document.querySelector('[data-lift123^="surface"]')
    && document.querySelector('[data-lift123="picture"]')?.naturalWidth, null, { timeout: 120000 });
  return lookAtStage(page);
}

// What stands in sight of a stage that runs: its words, lines, picture, surfaces, in which node and how far inside of it.
export async function lookAtStage(page) {
  await steady(page, () => document.querySelector('[data-lift123="live"]')?.getBoundingClientRect().toJSON());
  return page.evaluate(() => {
    const panel = document.querySelector('[data-lift123="live"]'), canvas = panel.querySelector('[data-lift123="curve"]');
    const { app } = window.comfyAPI.app, host = app.graph.nodes.find((n) => n.isSubgraphNode?.());
    const element = document.querySelector(`[data-node-id="${host.id}"]`), { scale } = app.canvas.ds;
    const [left, top] = app.canvas.convertOffsetToCanvas?.(host.pos) ?? app.canvas.ds.convertOffsetToCanvas(host.pos);
    const bounds = app.canvas.canvas.getBoundingClientRect();
    const room = element ? element.getBoundingClientRect()
      : new DOMRect(bounds.x + left, bounds.y + top, host.size[0] * scale, host.size[1] * scale);
    const box = panel.getBoundingClientRect();
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const inked = new Set();
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] > 200) inked.add(pixels.slice(i, i + 3).join(" "));
    return { inside: [box.left - room.left, box.top - room.top, room.right - box.right, room.bottom - box.bottom],
      size: [box.width / scale, box.height / scale], picture: panel.querySelector("img")?.naturalWidth,
      words: panel.innerText, views: document.querySelectorAll('[data-lift123^="surface"] canvas').length,
      inked: inked.size, nodes: window.comfyAPI.app.app.graph.nodes.map((n) => [n.type, n.widgets?.map((w) => w.name)]) };
  });
}

// Colors of wires and nodes, what the menu on the exporting node offers after a run, and what three of its lines do.
export async function useResults(page) {
  const seen = await page.evaluate(async () => {
    const { app } = window.comfyAPI.app, node = app.graph.nodes.find((n) => n.type === "Lift123_BakeExport");
    const items = app.collectNodeMenuItems(node).filter(Boolean);
    const choose = (label) => items.find((item) => item.content === label)?.callback();
    choose("Send to Compare");
    await choose("Use as reference");
    const found = (type) => app.graph.nodes.filter((n) => n.type === type).map((n) => n.widgets.map((w) => w.value));
    const style = getComputedStyle(document.documentElement);
    return {
      menu: items.map((item) => item.content), compare: found("Lift123_CompareRuns"), loaders: found("LoadImage"),
      wire: app.canvas.constructor.link_type_colors.LIFT123_SCENE, slot: style.getPropertyValue("--color-datatype-LIFT123_SCENE"),
      colors: Object.fromEntries(app.graph.nodes.map((n) => [n.type, n.color])),
    };
  });
  await page.keyboard.press("Alt+Shift+F");
  await page.waitForFunction(() => document.body.innerText.includes("No Lift123 stage is running"), null, { timeout: 60000 });
  return seen;
}

// Has the word of a run's end come with its picture?  Asked while the run ends: toasts go by themselves.
export function watchEnd(page) {
  return page.evaluate(async () => {
    await window.comfyAPI.app.app.extensionManager.setting.set("Lift123.Toast.seconds", 0);
    new MutationObserver(() => {
      const picture = document.querySelector('[data-lift123="thumbnail"]');
      if (picture) window.__ended = { text: picture.parentElement.innerText, file: picture.src };
    }).observe(document.body, { childList: true, subtree: true });
  });
}
