// A plot of losses and scores on a canvas: each line between its own lowest and highest value, with its last one below.
const COLORS = ["#5b9cf5", "#f0a04b", "#57c785", "#e86a6a", "#b98bf0", "#4fc4cf", "#e58fc0", "#b9b44a", "#9aa4b2"];
const SCORE = "#ffffff";

function shown(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

/** [{name, color, points: [[step, value]], score}] of a curve as the server sends it. */
export function linesOf(curve) {
  const lines = Object.entries(curve.losses ?? {}).map(([name, values]) => ({
    name, points: values.map((value, k) => [curve.steps[k], value]).filter(([, value]) => value !== null) }));
  for (const [name, points] of Object.entries(curve.scores ?? {})) lines.push({ name, points, score: true });
  return lines.filter((line) => line.points.length)
    .map((line, k) => ({ ...line, color: line.score ? SCORE : COLORS[k % COLORS.length] }));
}

// Losses fall over decades: where all are positive their logarithms are drawn, else the values.
function heights(points) {
  const plain = points.map(([, value]) => value);
  const values = plain.every((v) => v > 0) ? plain.map(Math.log) : plain;
  const low = Math.min(...values), span = Math.max(...values) - low;
  return values.map((v) => (span > 0 ? (v - low) / span : 0.5));
}

/** Draws the lines over 0 .. total steps. */
export function drawCurve(canvas, lines, total) {
  const scale = 2; // sharp when the graph is zoomed in
  const width = canvas.clientWidth * scale, height = canvas.clientHeight * scale;
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d"), edge = 6 * scale;
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = "rgba(140, 140, 150, 0.35)";
  pen.lineWidth = 1;
  for (const part of [0, 0.5, 1]) {
    const y = edge + part * (height - 2 * edge);
    pen.strokeRect(edge, y, width - 2 * edge, 0);
  }
  for (const line of lines) {
    const rise = heights(line.points);
    const at = (k) => [edge + (line.points[k][0] / Math.max(total, 1)) * (width - 2 * edge),
      height - edge - rise[k] * (height - 2 * edge)];
    pen.strokeStyle = pen.fillStyle = line.color;
    pen.lineWidth = line.score ? 2.5 * scale : 1.4 * scale;
    pen.lineJoin = "round";
    pen.beginPath();
    line.points.forEach((_, k) => pen.lineTo(...at(k)));
    pen.stroke();
    const [x, y] = at(line.points.length - 1);
    pen.beginPath();
    pen.arc(x, y, (line.score ? 3.5 : 2.5) * scale, 0, 7);
    pen.fill();
  }
}

/** The lines' names and last values, in their colors. */
export function writeLegend(element, lines) {
  element.replaceChildren(...lines.map((line) => {
    const word = element.ownerDocument.createElement("span");
    word.style.color = line.color;
    word.textContent = `${line.name} ${shown(line.points.at(-1)[1])}`;
    return word;
  }));
}
