// Help that leads on: a link from one help page to another opens in the panel it stands in, and a node of this pack that
// failed gets a "?" in its title.  That one, and "Help" in every node's menu, show the page in a dialog.
// Pages are web/docs; ComfyUI's own panel shows them, too (select a node, then the "i" above it).
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const DOCS = new URL("../docs/", import.meta.url).href;
const PAGE = /(?:^|\/)(Lift123_\w+)\.md$/;
const OURS = "Lift123_";
const MARK = "lift123.help";

async function lift123Page(name) {
  const answer = await fetch(`${DOCS}${name}.md`);
  if (!answer.ok) throw new Error(`${name}.md: ${answer.status}`);
  return app.extensionManager.renderMarkdownToHtml(await answer.text(), DOCS);
}

function lift123Box(link) {
  let box = link.parentElement;
  while (box && !box.querySelector("h1")) box = box.parentElement; // every page begins with one
  return box;
}

async function lift123Follow(event) {
  const link = event.target?.closest?.("a[href]");
  const name = PAGE.exec(link?.getAttribute("href") ?? "")?.[1];
  const box = name && lift123Box(link);
  if (!box) return;
  event.preventDefault(); // the page knows no other help page: it would open a file
  event.stopPropagation();
  const before = [...box.childNodes];
  try {
    const back = document.createElement("a");
    back.textContent = "Back";
    back.style.cursor = "pointer";
    back.addEventListener("click", () => box.replaceChildren(...before));
    const page = document.createElement("div");
    page.innerHTML = await lift123Page(name);
    box.replaceChildren(back, page);
    box.scrollIntoView({ block: "start" });
  } catch (problem) {
    console.warn("lift123: no help page", problem);
  }
}

async function lift123Help(name) {
  try {
    const page = document.createElement("div");
    page.className = "lift123-help";
    page.style.cssText = "max-width: 520px; max-height: 70vh; overflow: auto; text-align: left; white-space: normal; "
      + "color: var(--fg-color, #ddd); font: 14px/1.45 Arial, sans-serif"; // the dialog's own are those of error traces
    page.innerHTML = await lift123Page(name);
    app.ui.dialog.show(page);
    const told = [...page.querySelectorAll("h2")].find((head) => head.textContent === "When it complains");
    told?.scrollIntoView({ block: "start" });
  } catch (problem) {
    console.warn("lift123: no help page", problem);
  }
}

function lift123Mark({ detail }) {
  const node = app.graph?.getNodeById?.(Number(detail?.node_id));
  if (!node?.comfyClass?.startsWith(OURS) || node.title_buttons?.some((button) => button.name === MARK)) return;
  node.addTitleButton?.({ name: MARK, text: "?", fontSize: 16, xOffset: -10 });
  app.graph.setDirtyCanvas?.(true, true);
}

function lift123Unmark() {
  for (const node of app.graph?.nodes ?? []) {
    const at = node.title_buttons?.findIndex((button) => button.name === MARK) ?? -1;
    if (at >= 0) node.title_buttons.splice(at, 1);
  }
}

app.registerExtension({
  name: "lift123.help",
  setup() {
    window.addEventListener("click", lift123Follow, true);
    api.addEventListener("execution_error", lift123Mark);
    api.addEventListener("execution_start", lift123Unmark);
    app.canvas?.canvas?.addEventListener("litegraph:node-title-button-clicked", ({ detail }) => {
      if (detail?.button?.name === MARK) lift123Help(detail.node.comfyClass);
    });
  },
  getNodeMenuItems(node) {
    if (!node.comfyClass?.startsWith(OURS)) return [];
    return [{ content: "Lift123: Help", callback: () => lift123Help(node.comfyClass) }];
  },
});
