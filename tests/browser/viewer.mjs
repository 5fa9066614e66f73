// ComfyUI's 3D viewer in a node, once its model is drawn.
import { steady } from "./chromium.mjs";

const lookAtNode = (page, type) => page.evaluate((wanted) => {
  const app = window.comfyAPI.app.app;
  const node = app.graph.nodes.find((n) => n.type === wanted);
  if (!node) return false;
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [-node.pos[0] + 500, -node.pos[1] + 250];
  app.canvas.setDirty(true, true);
  return true;
}, type);

// Boxes of all canvases beside the graph's own, on the screen.
const boxesOf = (page) => steady(page, () => [...document.querySelectorAll("canvas:not(#graph-canvas)")]
  .map((canvas) => canvas.getBoundingClientRect().toJSON()).filter((box) => box.width > 60 && box.height > 60));

// Fraction of the middle of a box that is not gray, from a screenshot: the viewer's own pixels are gone once they are shown.
async function colorful(page, box) {
  const clip = { x: box.x + box.width / 4, y: box.y + box.height / 4, width: box.width / 2, height: box.height / 2 };
  const png = (await page.screenshot({ clip })).toString("base64");
  return page.evaluate(async (data) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
    const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
    pen.drawImage(image, 0, 0);
    const pixels = pen.getImageData(0, 0, image.width, image.height).data;
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4) {
      const color = pixels.slice(i, i + 3);
      count += Math.max(...color) - Math.min(...color) > 30;
    }
    return (4 * count) / pixels.length;
  }, png);
}

// Looks at the viewer until it shows something, half a minute at most; boxes of all that is there.
export async function lookAtViewer(page, type, picture) {
  if (!(await lookAtNode(page, type))) return [];
  let boxes = await boxesOf(page);
  for (let i = 0; i < 60; i++) {
    const large = boxes.find((box) => box.height > 250);
    if (large && (await colorful(page, large)) > 0.06) break;
    await page.waitForTimeout(500);
    boxes = await boxesOf(page);
  }
  await picture("viewer");
  return boxes;
}
