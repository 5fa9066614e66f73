// Draws GLB files with three.js, lit from one side, each from the same camera.
// Usage: node lit.mjs TASK.json   (task: node, chromium, files, out; writes report.json and one PNG per file into task.out)
import fs from "node:fs";
import path from "node:path";
import { launch } from "./chromium.mjs";

const task = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const modules = path.join(task.node, "node_modules");
const report = { errors: [] };
const SIDE = 320;

const page_text = `<!doctype html><body style="margin:0"><canvas id="c" width="${SIDE}" height="${SIDE}"></canvas>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
  import * as THREE from "three";
  import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
  const renderer = new THREE.WebGLRenderer({ canvas: document.getElementById("c"), preserveDrawingBuffer: true });
  const camera = new THREE.PerspectiveCamera(30, 1, 0.1, 20);
  camera.position.set(0.5, 0.6, 2.6);
  camera.lookAt(0, 0, 0);
  window.show = async (name) => {
    const scene = new THREE.Scene(), sun = new THREE.DirectionalLight(0xffffff, 3);
    scene.background = new THREE.Color(0xffffff);
    sun.position.set(2, 3, 1.5);
    scene.add(sun, new THREE.AmbientLight(0xffffff, 0.25), (await new GLTFLoader().loadAsync("/file/" + name)).scene);
    renderer.render(scene, camera);
  };
  window.ready = true;
</script></body>`;

const browser = await launch(task);
try {
  const page = await browser.newPage({ viewport: { width: SIDE, height: SIDE } });
  page.on("console", (m) => m.type() === "error" && report.errors.push(m.text()));
  page.on("pageerror", (e) => report.errors.push(String(e.stack || e)));
  await page.route("**/*", (route) => {
    const name = decodeURIComponent(new URL(route.request().url()).pathname);
    if (name === "/") return route.fulfill({ contentType: "text/html", body: page_text });
    if (name === "/favicon.ico") return route.fulfill({ status: 204, body: "" });
    if (name.startsWith("/file/")) {
      return route.fulfill({ contentType: "model/gltf-binary", body: fs.readFileSync(task.files[name.slice(6)]) });
    }
    return route.fulfill({ contentType: "text/javascript", body: fs.readFileSync(path.join(modules, name)) });
  });
  await page.goto("http://localhost/");
  await page.waitForFunction("window.ready", null, { timeout: 60000 });
  for (const name of Object.keys(task.files)) {
    await page.evaluate((n) => window.show(n), name);
    await page.screenshot({ path: path.join(task.out, `${name}.png`) });
  }
} catch (error) {
  report.crash = String(error.stack || error);
}
fs.writeFileSync(path.join(task.out, "report.json"), JSON.stringify(report));
await browser.close();
