// Chromium as all browser tests start it, and waiting for what is to be seen instead of for a time.
import { createRequire } from "node:module";
import path from "node:path";

// WebGL is computed by SwiftShader, all else is drawn without it: composing a page of canvases in SwiftShader costs ten times
// as much, and on two busy cores a single screenshot minutes.
const DRAWING = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-gpu-compositing",
  "--disable-gpu-rasterization", "--disable-accelerated-2d-canvas"];
const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync"];

// node: folder with node_modules; chromium: the executable.
export function launch({ node, chromium: executablePath }) {
  const { chromium } = createRequire(path.join(node, "package.json"))("playwright-core");
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...DRAWING, ...QUIET] });
}

// What look (a function for the page) sees, once it has seen the same twice, a quarter of a second apart.
export async function steady(page, look, given, seconds = 30) {
  let last;
  for (let i = 0; i < seconds * 4; i++) {
    const seen = JSON.stringify(await page.evaluate(look, given) ?? null);
    if (seen === last) break;
    last = seen;
    await page.waitForTimeout(250);
  }
  return JSON.parse(last);
}

// First-run dialogs may come late.
export async function closeDialogs(page) {
  const dialog = page.getByTestId("dialog-overlay");
  for (let i = 0; i < 20 && (await dialog.count()); i++) {
    await page.keyboard.press("Escape");
    await page.waitForTimeout(200);
  }
}
