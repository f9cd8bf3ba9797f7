// Mouse, pen and touch on the scatter: a drag brushes, a click or tap chooses; touch leaves dragging to scrolling.
const NEAR = 16;

const plotFrame = () => {
  const canvas = byId("chart-explorer").querySelector("canvas");
  const { view } = explorer;
  if (!canvas || !view) return null;
  const [outer, box] = [byId("plot").getBoundingClientRect(), canvas.getBoundingClientRect()];
  const [left, top] = view.origin();
  const zoom = box.width / (parseFloat(canvas.style.width) || box.width);
  return { left: box.left - outer.left + left * zoom, top: box.top - outer.top + top * zoom, zoom, outer, x: view.scale("x"), y: view.scale("y"), width: view.width() * zoom, height: view.height() * zoom };
};

const placed = (event, frame) => [event.clientX - frame.outer.left - frame.left, event.clientY - frame.outer.top - frame.top];

const nearest = (frame, [across, up]) => {
  const { columns, keep } = explorer;
  const [xs, ys] = [columns.by.get(picked.x).values, columns.by.get(picked.y).values];
  const [x0, x1] = frame.x.domain();
  const [y0, y1] = frame.y.domain();
  let [best, found] = [NEAR * NEAR, -1];
  for (let row = 0; row < columns.count; row++) {
    if (!keep[row]) continue;
    const dx = ((xs[row] - x0) / (x1 - x0)) * frame.width - across;
    const dy = (1 - (ys[row] - y0) / (y1 - y0)) * frame.height - up;
    const far = (dx * dx + dy * dy) * (columns.isMeasured.has(row) ? 0.5 : 1);
    if (far < best) [best, found] = [far, row];
  }
  return found;
};

const showBrush = () => {
  const [box, frame] = [byId("brush"), plotFrame()];
  box.hidden = !picked.brush || !frame;
  if (box.hidden) return;
  const [x0, x1, y0, y1] = picked.brush;
  const [left, right] = [frame.x(x0) * frame.zoom, frame.x(x1) * frame.zoom];
  const [top, bottom] = [frame.y(y1) * frame.zoom, frame.y(y0) * frame.zoom];
  const sides = { left: frame.left + left, top: frame.top + top, width: right - left, height: bottom - top };
  for (const [name, value] of Object.entries(sides)) box.style[name] = `${value}px`;
};

const brushBetween = (frame, [ax, ay], [bx, by]) => {
  const cut = (value, most) => Math.max(0, Math.min(most, value)) / frame.zoom;
  const xs = [ax, bx].map((value) => frame.x.invert(cut(value, frame.width))).sort((a, b) => a - b);
  const ys = [ay, by].map((value) => frame.y.invert(cut(value, frame.height))).sort((a, b) => a - b);
  picked.brush = [...xs, ...ys];
};

const showTip = (row, event) => {
  const tip = byId("tip");
  tip.hidden = row < 0;
  byId("plot").style.cursor = row < 0 ? "crosshair" : "pointer";
  if (row < 0) return;
  const { columns } = explorer;
  tip.textContent = `${spoken(columns, row)} · ${columns.isMeasured.has(row) ? "measured" : "predicted"}`;
  const outer = byId("plot").getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX - outer.left + 14, Math.max(0, outer.width - 240))}px`;
  tip.style.top = `${event.clientY - outer.top + 14}px`;
};

const spoken = (columns, row) => {
  const axes = [columns.by.get(picked.x), columns.by.get(picked.y)];
  return `${axes.map((one) => `${one.short} ${shown(one.values[row])}`).join(", ")} · ${outlineOf(columns, row)}`;
};

const bindPointer = () => {
  const plot = byId("plot");
  let from = null;
  let waiting = false;
  plot.addEventListener("pointerdown", (event) => {
    const frame = plotFrame();
    if (!frame || event.button !== 0 || event.target.closest("button")) return;
    from = { at: placed(event, frame), isBrush: false };
    if (event.pointerType !== "touch") plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const frame = plotFrame();
      if (!frame) return;
      const here = placed(event, frame);
      const isFar = from && Math.hypot(here[0] - from.at[0], here[1] - from.at[1]) > 5;
      if (from && event.pointerType !== "touch" && (from.isBrush || isFar)) {
        from.isBrush = true;
        byId("tip").hidden = true;
        brushBetween(frame, from.at, here);
        showBrush();
        rebrush();
      } else if (!from) showTip(nearest(frame, here), event);
    });
  });
  plot.addEventListener("pointerup", (event) => {
    const [frame, start] = [plotFrame(), from];
    from = null;
    if (!frame || !start) return;
    if (start.isBrush) {
      brushBetween(frame, start.at, placed(event, frame));
      showBrush();
      rebrush();
      keepLink();
      return;
    }
    const row = nearest(frame, placed(event, frame));
    if (row >= 0) choose(row, event.shiftKey);
    else clearBrush();
  });
  plot.addEventListener("pointercancel", () => { from = null; });
  plot.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  new ResizeObserver(soon(showBrush, 120)).observe(plot);
};

const clearBrush = () => {
  if (!picked.brush) return;
  picked.brush = null;
  showBrush();
  rebrush();
  keepLink();
};
