// Word of a batch's failed runs and of its end, and of the end of a long run, with a picture of what came of it.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { addressOf, setting, tell } from "./page.js";

const TOASTS = '[data-testid="toast"], .p-toast-message';
let began = 0, last; // the running prompt's start (ms) and the files of its last export

// ComfyUI's toasts hold text; a picture is put into the one that was just shown, where the page lets us find it.
function addPicture(text, file, tries = 30) {
  const toast = [...document.querySelectorAll(TOASTS)].find((box) => box.textContent.includes(text));
  if (!toast) {
    if (tries) requestAnimationFrame(() => addPicture(text, file, tries - 1));
    return;
  }
  if (toast.querySelector("[data-lift123]")) return;
  const picture = Object.assign(document.createElement("img"), { src: addressOf(file), alt: "" });
  picture.dataset.lift123 = "thumbnail";
  picture.style = "display:block; grid-column:1 / -1; width:128px; height:128px; object-fit:contain; margin:8px auto; border-radius:6px;";
  toast.append(picture);
}

function minutes(seconds) {
  return seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function onSuccess() {
  const seconds = (Date.now() - began) / 1000;
  if (!began || !last || seconds < (setting("Lift123.Toast.seconds") ?? 60)) return;
  const { glb, turntable, contact_sheet: sheet } = last;
  const name = [glb.subfolder, glb.filename].filter(Boolean).join("/");
  const text = `${name} is ready after ${minutes(seconds)}.`;
  tell("success", text, 15000);
  addPicture(text, turntable ?? sheet);
  began = 0;
}

app.registerExtension({
  name: "lift123.ended",
  settings: [
    { id: "Lift123.Toast.seconds", category: ["Lift123", "Toast", "seconds"], name: "Say when a run ends that took longer than",
      type: "number", defaultValue: 60, attrs: { min: 0 }, tooltip: "Seconds." },
  ],
  setup() {
    api.addEventListener("lift123.failed", ({ detail }) => tell("error", detail?.text)); // one of a batch; the others go on
    api.addEventListener("lift123.batch", ({ detail }) => tell("info", detail?.text));
    api.addEventListener("execution_start", () => ([began, last] = [Date.now(), undefined]));
    api.addEventListener("executed", ({ detail }) => {
      const files = detail?.output?.lift123_files?.[0];
      if (files?.glb) last = files;
    });
    api.addEventListener("execution_success", onSuccess);
  },
});
