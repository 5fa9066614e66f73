// What a person sees and does on the page beyond queueing: rectangles of nodes, sizes of letters, files dropped on the canvas.

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

// Nodes drawn on the canvas become elements, or the other way round, at the zoom at which a template opens.
export async function otherRenderer(page) {
  await page.evaluate(async () => {
    const { extensionManager } = window.comfyAPI.app.app, name = "Comfy.VueNodes.Enabled";
    await extensionManager.setting.set(name, !extensionManager.setting.get(name));
  });
  await page.waitForTimeout(4000);
  await page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await page.waitForTimeout(1500);
}

// The form of a graph: what it says.  The graph is in sight again afterwards.
export async function appMode(page) {
  const toggle = () => page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.ToggleLinear"));
  await toggle();
  await page.waitForTimeout(3000);
  const text = await page.evaluate(() => document.body.innerText);
  return { text, values: await page.evaluate(() => [...document.querySelectorAll("input, textarea")].map((e) => e.value)) };
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
      const box = e.getBoundingClientRect();
      const zoom = e.offsetWidth ? box.width / e.offsetWidth : scale;
      return { text: e.textContent.trim().slice(0, 40), px: parseFloat(getComputedStyle(e).fontSize) * zoom };
    });
    return { scale, canvas: window.LiteGraph.NODE_TEXT_SIZE * scale, sizes };
  });
}

// Drops files from the disk on an empty canvas, as the browser does it: it tells their types from their names.
export async function dropFiles(page, files) {
  const seen = [];
  const session = await page.context().newCDPSession(page);
  for (const file of files) {
    const data = { items: [], files: [file], dragOperationsMask: 1 };
    let opened = false;
    for (let attempt = 0; attempt < 4 && !opened; attempt++) { // a busy page loses some of the browser's drag events
      await page.evaluate(() => window.comfyAPI.app.app.graph.clear());
      await page.waitForTimeout(1000);
      for (const type of ["dragEnter", "dragOver", "drop"]) {
        await session.send("Input.dispatchDragEvent", { type, x: 800, y: 500, data });
        await page.waitForTimeout(200);
      }
      opened = await page.waitForFunction((name) => { // its tab is named after the file
        const { graph, extensionManager } = window.comfyAPI.app.app;
        return graph.nodes.length > 0 && extensionManager.workflow.activeWorkflow?.filename?.startsWith(name);
      }, file.split("/").pop().replace(/\.\w+$/, ""), { timeout: 20000 }).catch(() => false);
    }
    seen.push({ file, types: await page.evaluate(() => window.comfyAPI.app.app.graph.nodes.map((n) => n.type)) });
  }
  return seen;
}
