// The chosen architecture: its layers, its numbers, its neighbours on the front, and what differs from a second one.
let isComparing = false;

const choose = (row, isSecond = false) => {
  if ((isSecond || isComparing) && picked.chosen >= 0 && row !== picked.chosen) picked.compared = row;
  else [picked.chosen, picked.compared] = [row, picked.compared === row ? -1 : picked.compared];
  isComparing = false;
  picked.focus = row;
  showChosen();
};

const showChosen = () => {
  showPanel();
  pushChosen();
  redrawParallel();
  markStacks();
  keepLink();
};

const showPanel = () => {
  const panel = byId("panel");
  const { columns } = explorer;
  const wasHidden = panel.hidden;
  panel.hidden = picked.chosen < 0;
  if (panel.hidden !== wasHidden) dispatchEvent(new Event("resize")); // the chart beside it has less room, or more
  if (panel.hidden) return panel.replaceChildren();
  const rows = [picked.chosen, ...(picked.compared >= 0 ? [picked.compared] : [])];
  panel.replaceChildren(
    panelHead(columns, rows),
    make("div", { class: "pairing" }, ...rows.map((row, i) => drawnStack(columns, row, rows.length > 1 ? "AB"[i] : ""))),
    numbersTable(columns, rows),
    rows.length > 1 ? changes(columns, ...rows) : "",
    neighbours(columns, rows[0]),
    commandList(columns, rows[rows.length - 1]),
  );
};

const panelHead = (columns, rows) => {
  const names = rows.map((row, i) => (rows.length > 1 ? `${"AB"[i]} ` : "") + digestOf(columns, row));
  const comparing = make("button", { type: "button", id: "compare", "aria-pressed": String(isComparing), onclick: startComparing }, rows.length > 1 ? "Compare with another" : "Compare with…");
  const close = make("button", { type: "button", id: "close", "aria-label": "close the panel", onclick: clearChosen }, "Close");
  return make("div", {}, make("h3", {}, ...names.flatMap((name, i) => (i ? [" against ", make("code", {}, name)] : [make("code", {}, name)]))), make("div", { class: "controls" }, comparing, close));
};

const startComparing = () => {
  isComparing = !isComparing;
  byId("compare").setAttribute("aria-pressed", String(isComparing));
  say(isComparing ? "Choose a second architecture: click a dot, or walk along the front and press Enter." : "");
  if (isComparing) byId("plot").focus({ preventScroll: true });
};

const clearChosen = () => {
  Object.assign(picked, { chosen: -1, compared: -1, focus: -1 });
  isComparing = false;
  showChosen();
};

const drawnStack = (columns, row, mark) => {
  const stages = stagesOf(columns, row).map(({ width, blocks }) =>
    make("div", { class: "layer" }, ...blocks.map(drawnCell), make("small", {}, `C=${width}`)),
  );
  const label = `layers of ${digestOf(columns, row)}, input at the bottom`;
  return make("figure", { class: "stack", "aria-label": label }, make("div", { class: "layers" }, ...stages), make("figcaption", {}, make("b", {}, mark)));
};

const drawnCell = (block) => {
  const knobs = block.knobs.map(([name, value]) => make("span", {}, `${name.replaceAll("_", " ")} ${value}`));
  const heads = block.heads ? make("span", {}, `heads ${block.heads}`) : "";
  const name = make("b", {}, block.operator.replaceAll("_", " "));
  const mixer = block.operator === "none" ? "" : make("div", { class: "mixer", style: { background: block.colour, color: block.ink } }, name, heads, ...knobs);
  const gate = block.gate ? make("div", { class: "gate" }, block.gate) : "";
  const ffn = block.ffn ? make("div", { class: "ffn" }, block.ffn) : "";
  return make("div", { class: "cell", title: block.text }, ffn, gate, mixer);
};

const withSpread = (one, row) => {
  const spread = one.spread.get(row);
  return [shown(one.values[row]), spread ? make("small", {}, `${shown(spread[0])} to ${shown(spread[1])}`) : ""];
};

const numbersTable = (columns, rows) => {
  const able = columns.quantities.filter((one) => rows.some((row) => Number.isFinite(one.values[row])));
  const head = ["", ...(rows.length > 1 ? ["A", "B", "B against A"] : [""])];
  const body = able.map((one) => {
    const [a, b] = rows.map((row) => one.values[row]);
    const change = Number.isFinite(a) && Number.isFinite(b) && a ? `${b >= a ? "+" : "−"}${shown(Math.abs(100 * (b / a - 1)), 3)} %` : "";
    const cells = rows.map((row) => make("td", {}, ...withSpread(one, row)));
    return make("tr", {}, make("th", { scope: "row" }, one.short), ...cells, rows.length > 1 ? make("td", {}, change) : "");
  });
  const cells = head.map((text) => (text ? make("th", { scope: "col" }, text) : make("td", {})));
  const table = make("table", {}, rows.length > 1 ? make("thead", {}, make("tr", {}, ...cells)) : "", make("tbody", {}, ...body));
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "numbers" }, table);
};

const changes = (columns, a, b) => {
  const [left, right] = [a, b].map((row) => stagesOf(columns, row));
  const lines = [];
  for (let s = 0; s < Math.max(left.length, right.length); s++) {
    const [one, other] = [left[s], right[s]];
    const title = Math.max(left.length, right.length) > 1 ? `stage ${s + 1}, ` : "";
    if (!one || !other) lines.push([`${title}all`, one ? "only A has it" : "only B has it"]);
    else lines.push(...stageChanges(one, other, title));
  }
  const items = lines.map(([place, text]) => make("li", {}, make("b", {}, place), ` ${text}`));
  return make("div", {}, make("h4", {}, "What changes from A to B"), items.length ? make("ul", { class: "changes", id: "changes" }, ...items) : make("p", { class: "note", id: "changes" }, "Nothing: they are the same."));
};

const stageChanges = (one, other, title) => {
  const lines = one.width === other.width ? [] : [[`${title}width`, `${one.width} → ${other.width}`]];
  for (let i = 0; i < Math.max(one.blocks.length, other.blocks.length); i++) {
    const text = blockChange(one.blocks[i], other.blocks[i]);
    if (text) lines.push([`${title}block ${i + 1}`, text]);
  }
  return lines;
};

const blockChange = (one, other) => {
  if (!one || !other) return one ? `left out (${one.text})` : `added (${other.text})`;
  if (one.operator !== other.operator) return `${one.text} → ${other.text}`;
  const facts = (block) => ({ ...Object.fromEntries(block.knobs), heads: block.heads, ffn: block.ffn || "none", gate: block.gate || "none" });
  const [before, after] = [facts(one), facts(other)];
  return Object.keys({ ...before, ...after }).filter((key) => before[key] !== after[key]).map((key) => `${key.replaceAll("_", " ")} ${before[key]} → ${after[key]}`).join(", ");
};

const neighbours = (columns, row) => {
  const found = nearestOnFront(columns, picked, explorer.front, row);
  if (!found.length) return make("p", { class: "note" }, "");
  const items = found.map((other) =>
    make("li", {}, make("button", { type: "button", class: "link", onclick: () => choose(other) }, digestOf(columns, other).slice(0, 8)), ` ${spoken(columns, other)} `, make("button", { type: "button", onclick: () => choose(other, true), "aria-label": `compare with ${digestOf(columns, other)}` }, "compare")),
  );
  return make("div", {}, make("h4", {}, "Nearest on the front"), make("ul", { class: "changes", id: "neighbours" }, ...items));
};

const commandList = (columns, row) => {
  const digest = digestOf(columns, row);
  const lines = Object.entries(columns.commands).map(([name, text]) => {
    const command = text.replace(/\{digest\}(?!.*\{digest\})/, digest);
    return make("li", {}, make("code", { "data-command": name }, command), make("button", { type: "button", "aria-label": `copy the command that would ${name} it`, onclick: () => copy(command) }, "Copy"));
  });
  const save = make("button", { type: "button", id: "save-json", onclick: () => saveText(`${digest}.json`, JSON.stringify(jsonOf(columns, row), null, 1), "application/json") }, "Download its JSON");
  return make("div", {}, make("h4", {}, `Train alone, export ${digest.slice(0, 8)}`), make("ul", { class: "commands" }, ...lines), save);
};
