// Lift123: one button on the long stages, "Finish with what you have", one on Batch List that ends a batch after its
// current element, and word of a batch's failed runs and of its end.  Commands and settings that hand a batch to a cluster.
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

function lift123Told(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "Lift123", detail, life: severity === "error" ? undefined : 6000 });
}

async function lift123Cluster(path, body) {
  try {
    const answer = await api.fetchApi(path, { method: "POST", body: JSON.stringify(body ?? {}) });
    const told = await answer.json();
    lift123Told(answer.ok ? "info" : "error", told.text ?? "No answer.");
  } catch (problem) {
    lift123Told("error", `${problem}`);
  }
}

async function lift123Send() {
  const setting = (name) => app.extensionManager?.setting?.get?.(`Lift123.Cluster.${name}`);
  const { output } = await app.graphToPrompt();
  await lift123Cluster("/lift123/cluster", { prompt: output, address: setting("address"), workers: setting("workers") });
}

app.registerExtension({
  name: "lift123.finish",
  settings: [
    { id: "Lift123.Cluster.address", category: ["Lift123", "Cluster", "address"], name: "Cluster", type: "text", defaultValue: "",
      tooltip: "auto (the Ray cluster that this machine is part of, else one of its own), or ray://head:10001" },
    { id: "Lift123.Cluster.workers", category: ["Lift123", "Cluster", "workers"], name: "Workers", type: "number",
      defaultValue: 0, attrs: { min: 0 }, tooltip: "ComfyUIs side by side; 0 = as many as there is room for" },
  ],
  setup() {
    api.addEventListener("lift123.failed", lift123Failed); // one run of a batch; the others go on
    api.addEventListener("lift123.batch", lift123Ended);
  },
  commands: [
    { id: "lift123.finish", label: `Lift123: ${LABEL}`, function: lift123Finish },
    { id: "lift123.cluster", label: "Lift123: Send the batch to the cluster", function: lift123Send },
    { id: "lift123.cluster.stop", label: "Lift123: Stop the cluster's batch",
      function: () => lift123Cluster("/lift123/cluster/stop") },
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
