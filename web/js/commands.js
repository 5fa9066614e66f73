// Buttons and commands: "Finish with what you have" on the long stages, one on Batch List that ends a batch after its
// current element, and the commands and settings that hand a batch to a cluster.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { STAGES, tell } from "./page.js";

const LABEL = "Finish with what you have";
const STOP = "Stop after this one";

async function ask(path, field) {
  try {
    const answer = await api.fetchApi(path, { method: "POST" });
    return (await answer.json())[field] ?? [];
  } catch (problem) {
    console.warn(`lift123: ${path} failed`, problem);
    return [];
  }
}

function addButton(node, label, tooltip, action) {
  const widget = node.addWidget("button", label, null, action, { serialize: false });
  if (!widget) return;
  widget.serialize = false; // not part of widgets_values
  widget.tooltip = tooltip;
}

async function finish() {
  const finishing = await ask("/lift123/finish", "finishing");
  const detail = finishing.length
    ? "The running stage ends after this iteration; the graph goes on with its result."
    : "No Lift123 stage is running.";
  tell("info", detail, 4000);
}

async function stopBatch() {
  const stopping = await ask("/lift123/batch/stop", "stopping");
  const detail = stopping.length ? "The batch ends after this element; queue the graph again to go on." : "No batch is running.";
  tell("info", detail, 4000);
}

async function askCluster(path, body) {
  try {
    const answer = await api.fetchApi(path, { method: "POST", body: JSON.stringify(body ?? {}) });
    const told = await answer.json();
    tell(answer.ok ? "info" : "error", told.text ?? "No answer.", answer.ok ? 6000 : undefined);
  } catch (problem) {
    tell("error", `${problem}`);
  }
}

async function sendToCluster() {
  const setting = (name) => app.extensionManager?.setting?.get?.(`Lift123.Cluster.${name}`);
  const { output } = await app.graphToPrompt();
  await askCluster("/lift123/cluster", { prompt: output, address: setting("address"), workers: setting("workers") });
}

app.registerExtension({
  name: "lift123.finish",
  settings: [
    { id: "Lift123.Cluster.address", category: ["Lift123", "Cluster", "address"], name: "Cluster", type: "text", defaultValue: "",
      tooltip: "auto (the Ray cluster that this machine is part of, else one of its own), or ray://head:10001" },
    { id: "Lift123.Cluster.workers", category: ["Lift123", "Cluster", "workers"], name: "Workers", type: "number",
      defaultValue: 0, attrs: { min: 0 }, tooltip: "ComfyUIs side by side; 0 = as many as there is room for" },
  ],
  keybindings: [{ commandId: "lift123.finish", combo: { key: "f", alt: true, shift: true } }],
  commands: [
    { id: "lift123.finish", label: `Lift123: ${LABEL}`, function: finish },
    { id: "lift123.cluster", label: "Lift123: Send the batch to the cluster", function: sendToCluster },
    { id: "lift123.cluster.stop", label: "Lift123: Stop the cluster's batch",
      function: () => askCluster("/lift123/cluster/stop") },
    { id: "lift123.stop", label: "Lift123: Stop the batch after this element", function: stopBatch },
  ],
  nodeCreated(node) {
    if (STAGES.includes(node.comfyClass)) {
      addButton(node, LABEL, "Ends this stage after the current iteration and goes on with what it has.", finish);
    } else if (node.comfyClass === "Lift123_BatchList") {
      addButton(node, STOP, "Ends the batch when the element that runs now is through. Queue the graph again to go on.",
        stopBatch);
    }
  },
});
