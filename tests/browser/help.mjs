// A graph that is wrong when it is queued, the help panel of its node, a link in it, and the "?" of a node that failed.

// RGSD Prior at NeRF Stage 1: ComfyUI says which node is wrong.
export async function refuseAndHelp(page, picture) {
  await page.evaluate(() => {
    const { app } = window.comfyAPI.app;
    app.graph.clear();
    const make = (name, x, y) => {
      const node = window.LiteGraph.createNode(`Lift123_${name}`);
      node.pos = [x, y];
      app.graph.add(node);
      return node;
    };
    const toy = make("ToyObject", 0, 0), see = make("ReferenceView", 340, 0), net = make("LoadEmbedded", 0, 420);
    const prior = make("RgsdPrior", 340, 560), one = make("NerfStage1", 760, 0), save = make("SaveScene", 1240, 0);
    const into = (node, name) => node.inputs.findIndex((input) => input.name === name);
    toy.connect(0, see, into(see, "image"));
    see.connect(0, one, into(one, "reference"));
    net.connect(4, prior, into(prior, "depth_text_network"));
    prior.connect(0, one, into(one, "prior"));
    one.connect(0, save, into(save, "scene"));
    return app.queuePrompt(0, 1);
  });
  await page.waitForFunction(() => window.comfyAPI.app.app.lastNodeErrors, null, { timeout: 60000 });
  const seen = { refused: await page.evaluate(() => {
    const { app } = window.comfyAPI.app, named = (id) => app.graph.getNodeById(Number(id)).type;
    return Object.fromEntries(Object.entries(app.lastNodeErrors).map(([id, found]) => [named(id), JSON.stringify(found.errors)]));
  }) };
  for (let i = 0; i < 2; i++) await page.keyboard.press("Escape");
  await picture("refused");
  await page.evaluate(() => {
    const { app } = window.comfyAPI.app;
    app.canvas.selectNode(app.graph.nodes.find((node) => node.type === "Lift123_NerfStage1"));
  });
  await page.locator('[data-testid="info-button"]').first().click();
  const link = page.locator('a[href$="Lift123_ReferenceView.md"]').first();
  await link.waitFor({ state: "attached" });
  const drawing = page.locator('img[src$="Lift123_NerfStage1.jpg"]').first();
  seen.picture = await drawing.evaluate((image) => [image.naturalWidth, image.getBoundingClientRect().width]);
  await picture("help");
  await link.click();
  await page.locator('img[src$="Lift123_ReferenceView.jpg"]').first().waitFor();
  seen.followed = await page.evaluate(() => [...document.querySelectorAll("h1")].map((head) => head.textContent));
  seen.mark = await page.evaluate(async () => {
    const { app } = window.comfyAPI.app, { api } = window.comfyAPI.api;
    const node = app.graph.nodes.find((found) => found.type === "Lift123_NerfStage1");
    api.dispatchEvent(new CustomEvent("execution_error", { detail: { node_id: String(node.id), node_type: node.type,
      exception_message: "wrong", exception_type: "InputError", traceback: [], executed: [] } }));
    const button = node.title_buttons.at(-1);
    node.onTitleButtonClick(button, app.canvas);
    return button.text;
  });
  await page.locator(".lift123-help h2", { hasText: "When it complains" }).waitFor();
  await picture("complains");
  return seen;
}
