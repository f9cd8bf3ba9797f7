// The scatter of all architectures: what of them is drawn, and how.
const explorer = { columns: null, keep: null, inside: null, front: [], drawn: [], view: null };

const axisOf = (one, field) => {
  const margin = 0.07 * (one.high - one.low || Math.abs(one.high) || 1);
  const title = one.title + (one.better ? ` (${one.better} is better)` : "");
  const axis = field === "x" ? { tickCount: 8 } : { tickCount: 6 };
  if (one.high >= 1e4) axis.format = "~s";
  return { field, type: "quantitative", title, axis, scale: { zero: false, nice: false, domain: [one.low - margin, one.high + margin] } };
};

const scatterSpec = () => {
  const { columns } = explorer;
  const spec = structuredClone(columns.spec);
  const [x, y] = [columns.by.get(picked.x), columns.by.get(picked.y)];
  Object.assign(spec.layer[0].encoding, { x: axisOf(x, "x"), y: axisOf(y, "y") });
  spec.layer[1].mark.interpolate = x.better === "more" ? "step-before" : "step-after";
  spec.height = Math.min(spec.height, Math.max(280, innerHeight * 0.6));
  return spec;
};

const drawScatter = async () => {
  explorer.view = await embed("explorer", scatterSpec(), "canvas");
  byId("chart-explorer").setAttribute("aria-label", scatterLabel());
  refilter();
};

const scatterLabel = () => {
  const { columns } = explorer;
  return `${columns.count} architectures, ${columns.by.get(picked.y).short} over ${columns.by.get(picked.x).short}`;
};

// Limits, families or words have changed: what is left, its front, and the marks that stand for it.
const refilter = () => {
  const { columns, view } = explorer;
  explorer.keep = within(columns, picked);
  explorer.front = frontOf(columns, picked, explorer.keep);
  const always = new Set([...explorer.front, ...columns.measured]);
  explorer.drawn = view ? thinned(columns, picked, explorer.keep, always, view.width(), view.height()) : [];
  rebrush();
};

// The brush has moved: opacities and counts.
const rebrush = () => {
  explorer.inside = brushed(explorer.columns, picked, explorer.keep);
  showCounts();
  pushRows();
  redrawParallel();
};

const pushRows = () => {
  const { columns, view, drawn, front } = explorer;
  if (!view) return;
  const [x, y] = [columns.by.get(picked.x), columns.by.get(picked.y)];
  const rows = drawn.map(rowMaker(x, y));
  const measured = rows.filter((row) => columns.isMeasured.has(row.row));
  view.data("cloud", rows.filter((row) => !columns.isMeasured.has(row.row)));
  view.data("measured", measured);
  view.data("bars", rows.flatMap((row) => barsOf(row, x, y)));
  view.data("edge", front.map((row, at) => ({ x: x.values[row], y: y.values[row], at })));
  pushChosen();
};

const rowMaker = (x, y) => {
  const { columns, front, inside } = explorer;
  const edge = new Set(front);
  const pale = columns.count > 2000 ? 0.25 : 0.4;
  const plain = front.length ? pale : 0.6;
  return (row) => {
    const family = columns.families[columns.family[row]];
    return {
      row,
      x: x.values[row],
      y: y.values[row],
      family: family.name,
      letter: family.letter,
      ink: family.ink,
      source: columns.sources[columns.source[row]],
      opacity: (edge.has(row) ? 1 : columns.isMeasured.has(row) ? Math.max(plain, 0.55) : plain) * (inside[row] ? 1 : 0.2),
    };
  };
};

const barsOf = (row, x, y) => {
  const found = [];
  const [across, up] = [x.spread.get(row.row), y.spread.get(row.row)];
  if (across) found.push({ x: across[0], x2: across[1], y: row.y, y2: row.y, opacity: row.opacity });
  if (up) found.push({ x: row.x, x2: row.x, y: up[0], y2: up[1], opacity: row.opacity });
  return found;
};

const pushChosen = () => {
  const { columns, view } = explorer;
  if (!view) return;
  const [x, y] = [columns.by.get(picked.x).values, columns.by.get(picked.y).values];
  const marks = [[picked.focus, "", inkColour()], [picked.chosen, "A", accent()], [picked.compared, "B", accent()]];
  const able = marks.filter(([row]) => row >= 0 && Number.isFinite(x[row]) && Number.isFinite(y[row]));
  view.data("chosen", able.map(([row, mark, stroke]) => ({ x: x[row], y: y[row], mark, stroke })));
  view.runAsync();
};

const showCounts = () => {
  const { columns, keep, inside, front, drawn } = explorer;
  const place = byId("counts");
  const [left, chosen] = [counted(keep), counted(inside)];
  Object.assign(place.dataset, { all: columns.count, within: left, brushed: chosen, front: front.length, drawn: drawn.length });
  const number = (value) => value.toLocaleString("en");
  const parts = [`${number(left)} of ${number(columns.count)} architectures within the limits`];
  if (picked.brush) parts.push(`${number(chosen)} of them in the brush`);
  parts.push(front.length ? `${number(front.length)} on their front` : "no front: pick quantities of which one end is better");
  parts.push(`${number(drawn.length)} drawn${drawn.length < left ? ", one for each place on the screen and the front" : ""}`);
  place.textContent = left ? `${parts.join("; ")}.` : "No architecture is within these limits: loosen one, or press Reset.";
};
