// What a person sees and does on the page beyond queueing: rectangles of nodes, sizes of letters, files dropped on the canvas.
import { steady } from "./chromium.mjs";

// Every node of the open canvas as the page draws it: [{id, type, title, x, y, w, h}], title bar included, canvas units.
// In Nodes 2.0 a node is an element that may be larger than what the graph believes.
export async function nodeRectangles(page) {
  return page.evaluate(() => {
    const { app } = window.comfyAPI.app;
    const { canvas } = app;
    const bar = window.LiteGraph.NODE_TITLE_HEIGHT;
    return canvas.graph.nodes.map((node) => {
      const about = { id: node.id, type: node.type, title: node.title, x: node.pos[0], y: node.pos[1] - bar };
      const element = document.querySelector(`[data-node-id="${node.id}"]`);
      if (!element) return { ...about, w: node.size[0], h: node.size[1] + bar, vue: false };
      return { ...about, w: element.offsetWidth, h: element.offsetHeight, vue: true };  // as laid out: no zoom, no lag behind it
    });
  });
}

// The same, once nothing moves and all nodes are drawn the way that the setting says.
export async function settled(page) {
  const wanted = await page.evaluate(() => !!window.comfyAPI.app.app.extensionManager.setting.get("Comfy.VueNodes.Enabled"));
  let last = "";
  for (let i = 0; i < 120; i++) {
    const nodes = await nodeRectangles(page), seen = JSON.stringify(nodes);
    if (seen === last && nodes.every((node) => node.vue === wanted)) return nodes;
    last = seen;
    await page.waitForTimeout(250);
  }
  return nodeRectangles(page);
}

// Nodes drawn on the canvas (false) or as elements of the page (true).
export async function renderer(page, vue) {
  const changed = await page.evaluate(async (on) => {
    const { setting } = window.comfyAPI.app.app.extensionManager, name = "Comfy.VueNodes.Enabled";
    if (!!setting.get(name) === on) return false;
    await setting.set(name, on);
    return true;
  }, vue);
  if (changed) await settled(page);
}

// The zoom at which a template opens; it is reached in an animation.
export async function fitView(page) {
  await page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await steady(page, () => [window.comfyAPI.app.app.canvas.ds.scale, ...window.comfyAPI.app.app.canvas.ds.offset]);
}

// Where one looks: zoom and place.
export const viewOf = (page) => page.evaluate(() => {
  const { scale, offset } = window.comfyAPI.app.app.canvas.ds;
  return { scale, offset: [...offset] };
});

// Looks there; elements follow the canvas a little later.
export async function lookAt(page, view) {
  await page.evaluate(({ scale, offset }) => {
    const { canvas } = window.comfyAPI.app.app;
    Object.assign(canvas.ds, { scale, offset });
    canvas.setDirty(true, true);
  }, view);
  await steady(page, () => [...document.querySelectorAll("[data-node-id]")].map((e) => Object.values(e.getBoundingClientRect().toJSON())));
}

// Pictures of files of this name in nodes: [{file, width, height, below}], pixels at zoom 1; below: their distance from the lower
// edge of their node.  Those that are not drawn, and the page's own small ones, are left out.
export async function picturesOf(page, name, least) {
  await page.waitForFunction(([word, count]) => { // what has just come has its place once it is drawn again
    const { app } = window.comfyAPI.app, widest = app.graph.nodes[0].size[0] * app.canvas.ds.scale;
    const found = [...document.querySelectorAll("img")].filter((img) => img.src.includes(word));
    const placed = found.filter((img) => img.naturalWidth && img.checkVisibility());
    return placed.length >= count && found.every((img) => img.getBoundingClientRect().width < widest);
  }, [name, least], { timeout: 30000 }).catch(() => {}); // then the picture's width tells
  return steady(page, (word) => {
    const { app } = window.comfyAPI.app, { scale, offset } = app.canvas.ds, bounds = app.canvas.canvas.getBoundingClientRect();
    const node = app.graph.nodes[0], element = document.querySelector(`[data-node-id="${node.id}"]`);
    const edge = element ? element.getBoundingClientRect().bottom : bounds.y + (node.pos[1] + node.size[1] + offset[1]) * scale;
    return [...document.querySelectorAll("img")].filter((img) => img.src.includes(word) && img.naturalWidth && img.checkVisibility())
      .map((img) => {
        const box = img.getBoundingClientRect();
        return { file: new URL(img.src).searchParams.get("filename"), width: box.width / scale, height: box.height / scale,
          below: (edge - box.bottom) / scale };
      }).filter((entry) => entry.width > 60);
  }, name);
}

// The form of a graph: what it says, and what stands large in its area for results, with its name.  The graph is in sight again
// afterwards.
export async function appMode(page, picture, afterRun) {
  const toggle = () => page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.ToggleLinear"));
  const look = () => ({ text: document.body.innerText,
    values: [...document.querySelectorAll("input, textarea")].map((e) => e.value),
    shown: [...document.querySelectorAll('[data-testid="linear-center-panel"] :is(canvas, img)')].map((e) => e.clientHeight) });
  const before = (await page.evaluate(look)).text;
  await toggle();
  await page.waitForFunction((graph) => document.body.innerText !== graph, before);
  if (afterRun) { // core asks the server what came of it, then opens its viewer
    await page.waitForFunction(() => document.querySelector('[data-testid="linear-center-panel"] canvas')?.clientHeight > 300);
  }
  const seen = await steady(page, look);
  await picture("app");
  await toggle();
  await settled(page);
  return seen;
}

// Graphs as they are loaded from files: [{file, missing, labels, inside, sent, api}], subgraphs' nodes included.
export async function openGraphs(page, graphs) {
  const seen = [];
  for (const { file, data } of graphs) {
    seen.push(await page.evaluate(async ([title, graph]) => {
      const { app } = window.comfyAPI.app;
      await app.loadGraphData(graph);
      const nodes = [app.graph, ...app.graph.subgraphs.values()].flatMap((g) => g.nodes);
      const known = (n) => n.isSubgraphNode?.() || window.LiteGraph.registered_node_types[n.type];
      const { output } = await app.graphToPrompt();
      return { file: title, missing: nodes.filter((n) => !known(n)).map((n) => n.type),
        labels: nodes.flatMap((n) => n.widgets ?? []).map((w) => w.label), inside: nodes.map((n) => n.type), sent: Object.values(output).map((n) => n.class_type), api: output };
    }, [file, data]));
  }
  return seen;
}

// Pixels of a node's letters on the screen at the present zoom: what is drawn on the canvas, and what elements show.
export async function letters(page) {
  return page.evaluate(() => {
    const { canvas } = window.comfyAPI.app.app, { scale } = canvas.ds;
    const shown = [...document.querySelectorAll("[data-node-id] *, .dom-widget *")].filter((e) =>
      [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length);
    const sizes = shown.map((e) => {
      const node = e.closest("[data-node-id], .dom-widget"); // wide enough that its whole pixels do not matter
      const zoom = node.offsetWidth ? node.getBoundingClientRect().width / node.offsetWidth : scale;
      return { text: e.textContent.trim().slice(0, 40), px: parseFloat(getComputedStyle(e).fontSize) * zoom };
    });
    return { scale, canvas: window.LiteGraph.NODE_TEXT_SIZE * scale, sizes };
  });
}

// Drops a file on an empty canvas, as the browser does it; false where the page felt no drop: a busy page loses some events.
async function drop(page, session, file) {
  const data = { items: [], files: [file], dragOperationsMask: 1 };
  await page.evaluate(() => {
    window.comfyAPI.app.app.graph.clear();
    window.__dropped = false;
    document.addEventListener("drop", () => (window.__dropped = true), { capture: true, once: true });
  });
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await session.send("Input.dispatchDragEvent", { type, x: 800, y: 500, data });
    await page.waitForTimeout(100);
  }
  return page.waitForFunction(() => window.__dropped, null, { timeout: 3000 }).catch(() => false);
}

// Drops files from the disk: the page tells their types from their names.  [{file, types}] of the graphs that they brought.
export async function dropFiles(page, files) {
  const seen = [];
  const session = await page.context().newCDPSession(page);
  for (const file of files) {
    let opened = false;
    for (let attempt = 0; attempt < 6 && !opened; attempt++) {
      if (!(await drop(page, session, file))) continue;
      opened = await page.waitForFunction((name) => { // its tab is named after the file
        const { graph, extensionManager } = window.comfyAPI.app.app;
        return graph.nodes.length > 0 && extensionManager.workflow.activeWorkflow?.filename?.startsWith(name);
      }, file.split("/").pop().replace(/\.\w+$/, ""), { timeout: 20000 }).catch(() => false);
    }
    seen.push({ file, types: await page.evaluate(() => window.comfyAPI.app.app.graph.nodes.map((n) => n.type)) });
  }
  return seen;
}
