// The template browser: a card with a picture for each of the pack's graphs, and one that is opened.

// Cards come two dozen at a time when their list is scrolled to its end, pictures when they are in sight.
async function allCards(page, names) {
  const missing = () => page.evaluate((wanted) => wanted.filter((name) =>
    !document.querySelector(`[data-testid="template-workflow-${name}"]`)), names);
  for (let i = 0, last = -1; i < 40; i++) {
    const left = (await missing()).length;
    if (!left) break;
    if (left !== last) i = 0; // more of them came
    last = left;
    await page.locator('[data-testid^="template-workflow-"]').last().hover(); // the wheel turns what is under the pointer
    await page.mouse.wheel(0, 3000);
    await page.waitForTimeout(250);
  }
  return missing();
}

export async function showTemplates(page, { folder, templates, openTemplate }, report, picture) {
  await page.evaluate(() => window.comfyAPI.app.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  await page.getByText(folder, { exact: false }).first().click();
  await page.locator('[data-testid^="template-workflow-"]').first().waitFor();
  report.cardsMissing = await allCards(page, templates);
  const shown = new Set();
  for (const name of templates) {
    const card = page.getByTestId(`template-workflow-${name}`);
    await card.scrollIntoViewIfNeeded();
    const [source, width] = await card.locator("img").first().evaluate((image) => image.decode()
      .then(() => [image.src, Math.min(image.naturalWidth, image.getBoundingClientRect().width)]));
    if (width > 100) shown.add(source);
  }
  report.shownPictures = shown.size;
  await page.getByTestId(`template-workflow-${openTemplate}`).scrollIntoViewIfNeeded();
  await picture("templates");
  report.templateText = await page.evaluate(() => document.body.innerText);
  await page.getByTestId(`template-workflow-${openTemplate}`).click();
  await page.waitForFunction(() => window.comfyAPI.app.app.graph.nodes?.length > 3);
}
