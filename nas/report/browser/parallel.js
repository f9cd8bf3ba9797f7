// Parallel coordinates of what brush and limits leave: the front, then others evenly, as many as can be told apart.
const MOST_LINES = 250;
const PARALLEL = ["latency_ms", "quality", "params", "flops", "kv_cache_bytes", "rank", "sparsity", "depth"];

const parallelAxes = (columns) => PARALLEL.map((key) => columns.by.get(key)).filter((one) => one && one.high > one.low);

const lineRows = (columns) => {
  const { inside, front } = explorer;
  const edge = front.filter((row) => inside[row]);
  const isEdge = new Set(edge);
  const others = [];
  for (let row = 0; row < columns.count; row++) if (inside[row] && !isEdge.has(row)) others.push(row);
  const step = Math.max(1, Math.ceil(others.length / Math.max(1, MOST_LINES - edge.length)));
  const chosen = [picked.chosen, picked.compared].filter((row) => row >= 0);
  return { rows: [...new Set([...others.filter((_, i) => i % step === 0), ...edge.slice(0, MOST_LINES), ...chosen])], isEdge, all: others.length + edge.length };
};

const pushLines = () => {
  const { columns } = explorer;
  const view = views.parallel;
  if (!view) return;
  const axes = parallelAxes(columns);
  const { rows, isEdge, all } = lineRows(columns);
  const opacity = (row) => (row === picked.chosen || row === picked.compared ? 1 : isEdge.has(row) ? 0.8 : 0.18);
  const scaled = (one, row) => (one.values[row] - one.low) / (one.high - one.low);
  view.data("lines", rows.flatMap((row) => axes.map((one, at) => ({
    id: row, axis: one.short, value: scaled(one, row), at, opacity: opacity(row), family: columns.families[columns.family[row]].name,
  }))).filter((point) => Number.isFinite(point.value)));
  view.data("ends", axes.map((one) => ({ axis: one.short, low: 0, high: 1, low_label: shown(one.low, 3), high_label: shown(one.high, 3) })));
  view.runAsync();
  byId("lines").textContent = `Lines are the architectures that the brush and the limits leave: ${rows.length.toLocaleString("en")} of ${all.toLocaleString("en")} drawn, their front in full colour.`;
};

const redrawParallel = soon(pushLines, 80);

const drawParallel = async () => {
  await embed("parallel", structuredClone(explorer.columns.parallel), "canvas");
  pushLines();
};
