// Opens a VRM file with three-vrm in a real page, sets a pose, lets its springs swing, and takes pictures.
// Usage: node vrm.mjs TASK.json   (task: node, chromium, file, out; writes report.json and PNGs into task.out)
import fs from "node:fs";
import path from "node:path";
import { launch } from "./chromium.mjs";

const task = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const modules = path.join(task.node, "node_modules");
const report = { errors: [] };

const page_text = `<!doctype html><body style="margin:0"><canvas id="c" width="480" height="640"></canvas>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/",
  "@pixiv/three-vrm": "/@pixiv/three-vrm/lib/three-vrm.module.js"}}</script>
<script type="module">
  import * as THREE from "three";
  import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
  import { VRMLoaderPlugin } from "@pixiv/three-vrm";
  const renderer = new THREE.WebGLRenderer({ canvas: document.getElementById("c"), preserveDrawingBuffer: true });
  const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(30, 480 / 640, 0.1, 20);
  scene.background = new THREE.Color(0xffffff);
  camera.position.set(0, 0.8, 3.8);
  camera.lookAt(0, 0.8, 0);
  scene.add(new THREE.HemisphereLight(0xffffff, 0x999999, 2.5));
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  const gltf = await loader.loadAsync("/file.vrm"), vrm = gltf.userData.vrm;
  scene.add(vrm.scene);
  const place = (name) => vrm.humanoid.getRawBoneNode(name).getWorldPosition(new THREE.Vector3()).toArray();
  const meshes = () => { const found = []; vrm.scene.traverse((o) => o.isSkinnedMesh && found.push(o)); return found; };
  const middle = (mesh) => {
    const sum = new THREE.Vector3(), p = new THREE.Vector3(), count = mesh.geometry.attributes.position.count;
    for (let i = 0; i < count; i += 7) sum.add(mesh.localToWorld(mesh.getVertexPosition(i, p)));
    return sum.divideScalar(Math.ceil(count / 7)).toArray();
  };
  window.draw = () => { vrm.scene.updateMatrixWorld(true); renderer.render(scene, camera); };
  window.look = () => ({ bones: Object.fromEntries(Object.keys(vrm.humanoid.humanBones).map((n) => [n, place(n)])),
    meshes: Object.fromEntries(meshes().map((m) => [m.name, middle(m)])) });
  window.pose = (turns) => {
    for (const [name, [x, y, z]] of Object.entries(turns)) {
      vrm.humanoid.getNormalizedBoneNode(name).rotation.set(x, y, z);
    }
    for (let i = 0; i < 30; i++) vrm.update(1 / 30);
  };
  window.about = { meta: vrm.meta, springs: vrm.springBoneManager ? vrm.springBoneManager.joints.size : 0,
    lookAt: !!vrm.lookAt, firstPerson: vrm.firstPerson ? vrm.firstPerson.meshAnnotations.length : 0 };
  window.ready = true;
</script></body>`;

const browser = await launch(task);
try {
  const page = await browser.newPage({ viewport: { width: 480, height: 640 } });
  page.on("console", (m) => m.type() === "error" && report.errors.push(m.text()));
  page.on("pageerror", (e) => report.errors.push(String(e.stack || e)));
  await page.route("**/*", (route) => {
    const name = decodeURIComponent(new URL(route.request().url()).pathname);
    if (name === "/") return route.fulfill({ contentType: "text/html", body: page_text });
    if (name === "/favicon.ico") return route.fulfill({ status: 204, body: "" });
    if (name === "/file.vrm") return route.fulfill({ contentType: "model/gltf-binary", body: fs.readFileSync(task.file) });
    return route.fulfill({ contentType: "text/javascript", body: fs.readFileSync(path.join(modules, name)) });
  });
  await page.goto("http://localhost/");
  await page.waitForFunction("window.ready", null, { timeout: 60000 });
  report.about = await page.evaluate("window.about");
  await page.evaluate("window.draw()");
  report.rest = await page.evaluate("window.look()");
  await page.screenshot({ path: path.join(task.out, "rest.png") });
  await page.evaluate((turns) => { window.pose(turns); window.draw(); }, task.pose);
  report.posed = await page.evaluate("window.look()");
  await page.screenshot({ path: path.join(task.out, "posed.png") });
} catch (error) {
  report.crash = String(error.stack || error);
}
fs.writeFileSync(path.join(task.out, "report.json"), JSON.stringify(report));
await browser.close();
