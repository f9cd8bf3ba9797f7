// All architectures as typed columns, decoded from the page's JSON.
const TYPES = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };

const decoded = ({ type, data }) => {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[type](bytes.buffer);
};

const readQuantity = (found, count) => {
  let values = decoded(found.values);
  if (found.at) {
    const at = decoded(found.at);
    const all = new Float32Array(count).fill(NaN);
    for (let i = 0; i < at.length; i++) all[at[i]] = values[i];
    values = all;
  }
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const spread = new Map(found.spread.map(([row, from, to]) => [row, [from, to]]));
  return { key: found.key, title: found.title, short: found.title.split(" (")[0], better: found.better, values, low, high, spread };
};

const readColumns = (data) => {
  const quantities = data.quantities.map((found) => readQuantity(found, data.count));
  return {
    ...data,
    quantities,
    by: new Map(quantities.map((one) => [one.key, one])),
    family: decoded(data.family),
    source: decoded(data.source),
    tokens: decoded(data.tokens),
    offsets: decoded(data.offsets),
    digests: decoded(data.digests),
    isMeasured: new Set(data.measured),
    orders: new Map(),
  };
};

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const digestOf = (columns, row) => Array.from(columns.digests.subarray(8 * row, 8 * row + 8), (byte) => HEX[byte]).join("");

const rowOf = (columns, digest) => {
  if (!/^[0-9a-f]{16}$/.test(digest)) return -1;
  const wanted = digest.match(/../g).map((pair) => parseInt(pair, 16));
  for (let row = 0; row < columns.count; row++) {
    if (wanted.every((byte, i) => columns.digests[8 * row + i] === byte)) return row;
  }
  return -1;
};

const stagesOf = (columns, row) => {
  const stages = [];
  for (let i = columns.offsets[row]; i < columns.offsets[row + 1]; i++) {
    const token = columns.tokens[i];
    if (token >= columns.blocks.length) stages.push({ width: columns.widths[token - columns.blocks.length], blocks: [] });
    else stages[stages.length - 1].blocks.push(columns.blocks[token]);
  }
  return stages;
};

const jsonOf = (columns, row) => ({
  arch: { stages: stagesOf(columns, row).map(({ width, blocks }) => ({ embed_dim: width, blocks: blocks.map((b) => b.json) })) },
  digest: digestOf(columns, row),
  values: Object.fromEntries(
    columns.quantities.filter((one) => Number.isFinite(one.values[row])).map((one) => [one.key, one.values[row]]),
  ),
});

const outlineOf = (columns, row) => {
  const runs = stagesOf(columns, row).map(({ blocks }) => {
    const parts = [];
    for (const block of blocks) {
      const name = block.operator === "none" ? "ffn" : block.operator;
      const last = parts[parts.length - 1];
      if (last && last[0] === name) last[1] += 1;
      else parts.push([name, 1]);
    }
    return parts.map(([name, times]) => (times > 1 ? `${times}x ${name}` : name)).join(", ") || "no blocks";
  });
  return runs.join(" | ");
};
