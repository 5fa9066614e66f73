// Lift123: one button on the long stages, "Finish with what you have", one on Batch List that ends a batch after its
// current element, and word of a batch's failed runs and of its end.
// Nothing else is touched: previews, progress and the 3D viewer are ComfyUI's own.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const STAGES = ["Lift123_NerfStage1", "Lift123_DynamicStage2", "Lift123_DMTetRefine"];
const LABEL = "Finish with what you have";
const STOP = "Stop after this one";

async function lift123Ask(path, field) {
  try {
    const answer = await api.fetchApi(path, { method: "POST" });
    return (await answer.json())[field] ?? [];
  } catch (problem) {
    console.warn(`lift123: ${path} failed`, problem);
    return [];
  }
}

function lift123Button(node, label, tooltip, action) {
  const widget = node.addWidget("button", label, null, action, { serialize: false });
  if (!widget) return;
  widget.serialize = false; // not part of widgets_values
  widget.tooltip = tooltip;
}

async function lift123Finish() {
  const finishing = await lift123Ask("/lift123/finish", "finishing");
  const detail = finishing.length
    ? "The running stage ends after this iteration; the graph goes on with its result."
    : "No Lift123 stage is running.";
  app.extensionManager?.toast?.add({ severity: "info", summary: "Lift123", detail, life: 4000 });
}

async function lift123Stop() {
  const stopping = await lift123Ask("/lift123/batch/stop", "stopping");
  const detail = stopping.length ? "The batch ends after this element; queue the graph again to go on." : "No batch is running.";
  app.extensionManager?.toast?.add({ severity: "info", summary: "Lift123", detail, life: 4000 });
}

function lift123Ended(event) {
  app.extensionManager?.toast?.add({ severity: "info", summary: "Lift123", detail: event.detail?.text });
}

function lift123Failed(event) {
  app.extensionManager?.toast?.add({ severity: "error", summary: "Lift123", detail: event.detail?.text });
}

app.registerExtension({
  name: "lift123.finish",
  setup() {
    api.addEventListener("lift123.failed", lift123Failed); // one run of a batch; the others go on
    api.addEventListener("lift123.batch", lift123Ended);
  },
  commands: [
    { id: "lift123.finish", label: `Lift123: ${LABEL}`, function: lift123Finish },
    { id: "lift123.stop", label: "Lift123: Stop the batch after this element", function: lift123Stop },
  ],
  nodeCreated(node) {
    if (STAGES.includes(node.comfyClass)) {
      lift123Button(node, LABEL, "Ends this stage after the current iteration and goes on with what it has.", lift123Finish);
    } else if (node.comfyClass === "Lift123_BatchList") {
      lift123Button(node, STOP, "Ends the batch when the element that runs now is through. Queue the graph again to go on.",
        lift123Stop);
    }
  },
});
