// What the reader has picked, and which architectures it leaves; counts are over all of them, drawn or not.
const picked = { x: "", y: "", limits: {}, off: new Set(), find: "", brush: null, chosen: -1, compared: -1, focus: -1 };

const starting = (columns) => {
  const has = (key, other) => (columns.by.has(key) ? key : other);
  const keys = columns.quantities.map((one) => one.key);
  const x = has("latency_ms", has("params", keys[0]));
  // where a search went by what training alone is expected to give, so does the chart
  const y = has("standalone", has("quality", keys.find((key) => key !== x) || x));
  return { x, y, limits: {}, off: new Set(), find: "", brush: null };
};

const matching = (columns, text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const isWanted = columns.blocks.map((block) => {
    const said = `${block.text} ${block.family}`.toLowerCase();
    return words.every((word) => said.includes(word));
  });
  const digest = /^[0-9a-f]{4,16}$/.test(text.trim()) ? text.trim() : "";
  return (row) => {
    for (let i = columns.offsets[row]; i < columns.offsets[row + 1]; i++) if (isWanted[columns.tokens[i]]) return true;
    return digest !== "" && digestOf(columns, row).startsWith(digest);
  };
};

const within = (columns, picked) => {
  const keep = new Uint8Array(columns.count).fill(1);
  for (const [key, limit] of Object.entries(picked.limits)) {
    const one = columns.by.get(key);
    if (one && limit !== undefined) for (let i = 0; i < keep.length; i++) if (!(one.values[i] <= limit)) keep[i] = 0;
  }
  if (picked.off.size) for (let i = 0; i < keep.length; i++) if (picked.off.has(columns.family[i])) keep[i] = 0;
  if (picked.find.trim()) {
    const isWanted = matching(columns, picked.find);
    for (let i = 0; i < keep.length; i++) if (keep[i] && !isWanted(i)) keep[i] = 0;
  }
  return keep;
};

const brushed = (columns, picked, keep) => {
  if (!picked.brush) return keep;
  const [x0, x1, y0, y1] = picked.brush;
  const [xs, ys] = [columns.by.get(picked.x).values, columns.by.get(picked.y).values];
  const inside = new Uint8Array(columns.count);
  for (let i = 0; i < inside.length; i++) {
    inside[i] = keep[i] && xs[i] >= x0 && xs[i] <= x1 && ys[i] >= y0 && ys[i] <= y1 ? 1 : 0;
  }
  return inside;
};

const counted = (mask) => {
  let sum = 0;
  for (let i = 0; i < mask.length; i++) sum += mask[i];
  return sum;
};

const ordered = (columns, key) => {
  if (!columns.orders.has(key)) {
    const values = columns.by.get(key).values;
    const rows = new Uint32Array(columns.count);
    let count = 0;
    for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) rows[count++] = i;
    columns.orders.set(key, rows.slice(0, count).sort((a, b) => values[a] - values[b]));
  }
  return columns.orders.get(key);
};

// The non-dominated rows among those kept, by growing x; empty if a quantity has no better end.
const frontOf = (columns, picked, keep) => {
  const [x, y] = [columns.by.get(picked.x), columns.by.get(picked.y)];
  if (!x.better || !y.better || x === y) return [];
  const sign = y.better === "more" ? -1 : 1;
  const order = ordered(columns, picked.x);
  const rows = [];
  let best = Infinity;
  let group = -1;
  const close = () => {
    if (group >= 0) rows.push(group);
    group = -1;
  };
  let last = NaN;
  for (let k = 0; k < order.length; k++) {
    const row = order[x.better === "more" ? order.length - 1 - k : k];
    const value = sign * y.values[row];
    if (!keep[row] || !Number.isFinite(value)) continue;
    if (x.values[row] !== last) close();
    last = x.values[row];
    if (value < best) [best, group] = [value, row];
  }
  close();
  return x.better === "more" ? rows.reverse() : rows;
};

const nearestOnFront = (columns, picked, front, row, most = 3) => {
  const axes = [columns.by.get(picked.x), columns.by.get(picked.y)];
  const distance = (other) =>
    Math.hypot(...axes.map((one) => (one.values[other] - one.values[row]) / (one.high - one.low || 1)));
  const able = front.filter((other) => other !== row).map((other) => [distance(other), other]);
  return able.filter(([far]) => Number.isFinite(far)).sort((a, b) => a[0] - b[0]).slice(0, most).map(([, other]) => other);
};
