// What was found, drawn over the picture.

const COLOURS = ["#ffb000", "#37d0ff", "#ff5ca8", "#7dff6b", "#c9a2ff", "#ff7a45"];

/**
 * @param {HTMLCanvasElement} canvas as large as the picture's place.
 * @param {{ width: number, height: number }} frame as it was sent.
 * @param {{ boxes: number[][], names: string[], tracks: number[] }} found
 */
export function drawBoxes(canvas, frame, { boxes, names, tracks }) {
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  // The picture stands in the middle, whole.
  const scale = Math.min(width / frame.width, height / frame.height);
  pen.scale(ratio, ratio);
  pen.translate((width - frame.width * scale) / 2, (height - frame.height * scale) / 2);
  pen.font = "600 13px system-ui, sans-serif";
  pen.lineWidth = 2;
  pen.textBaseline = "top";
  boxes.forEach(([left, top, right, bottom], at) => {
    const track = tracks[at] >= 0 ? tracks[at] : at;
    const colour = COLOURS[track % COLOURS.length];
    const [x, y] = [left * scale, top * scale];
    pen.strokeStyle = pen.fillStyle = colour;
    pen.strokeRect(x, y, (right - left) * scale, (bottom - top) * scale);
    const text = names[at];
    const wide = pen.measureText(text).width + 8;
    const above = y >= 18 ? y - 18 : y;
    pen.fillRect(x - 1, above, wide, 18);
    pen.fillStyle = "#000";
    pen.fillText(text, x + 3, above + 3);
  });
}

/** Boxes, names and tracks in a response. @param {any} response */
export function foundIn({ outputs, parameters }) {
  const tensor = (name) => outputs.find((each) => each.name === name);
  const flat = [...(tensor("boxes")?.data ?? [])].flat();
  const boxes = [];
  for (let at = 0; at + 4 <= flat.length; at += 4) boxes.push(flat.slice(at, at + 4));
  const scores = [...(tensor("scores")?.data ?? [])];
  const tracks = [...(tensor("track_ids")?.data ?? [])].map(Number);
  let labels = parameters?.labels ?? [];
  if (typeof labels === "string") labels = JSON.parse(labels);
  const names = boxes.map((_, at) => {
    const number = tracks[at] >= 0 ? ` #${tracks[at]}` : "";
    return `${labels[at] ?? "thing"}${number} ${(scores[at] ?? 0).toFixed(2)}`;
  });
  return { boxes, names, tracks };
}
