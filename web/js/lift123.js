// Lift123: one button on the long stages, "Finish with what you have", and word of a batch's failed runs.
// Nothing else is touched: previews, progress and the 3D viewer are ComfyUI's own.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const STAGES = ["Lift123_NerfStage1", "Lift123_DynamicStage2", "Lift123_DMTetRefine"];
const LABEL = "Finish with what you have";

async function lift123Finish() {
  let finishing = [];
  try {
    const answer = await api.fetchApi("/lift123/finish", { method: "POST" });
    finishing = (await answer.json()).finishing ?? [];
  } catch (problem) {
    console.warn("lift123: finish request failed", problem);
  }
  const detail = finishing.length
    ? "The running stage ends after this iteration; the graph goes on with its result."
    : "No Lift123 stage is running.";
  app.extensionManager?.toast?.add({ severity: "info", summary: "Lift123", detail, life: 4000 });
}

function lift123Failed(event) {
  app.extensionManager?.toast?.add({ severity: "error", summary: "Lift123", detail: event.detail?.text });
}

app.registerExtension({
  name: "lift123.finish",
  setup() {
    api.addEventListener("lift123.failed", lift123Failed); // one run of a batch; the others go on
  },
  commands: [{ id: "lift123.finish", label: `Lift123: ${LABEL}`, function: lift123Finish }],
  nodeCreated(node) {
    if (!STAGES.includes(node.comfyClass)) return;
    const widget = node.addWidget("button", LABEL, null, lift123Finish, { serialize: false });
    if (widget) {
      widget.serialize = false; // not part of widgets_values
      widget.tooltip = "Ends this stage after the current iteration and goes on with what it has.";
    }
  },
});
