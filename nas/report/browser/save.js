// Charts, tables and architectures as files, and texts to the clipboard.
const saveBlob = (name, blob) => {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`Saved ${name}.`);
};

const saveText = (name, text, type) => saveBlob(name, new Blob([text], { type }));

const saveChart = async (name, kind) => {
  const view = views[name];
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
  const before = view.background();
  view.background(paper);
  if (kind === "SVG") saveText(`${name}.svg`, await view.toSVG(), "image/svg+xml");
  else {
    const canvas = await view.toCanvas(2);
    canvas.toBlob((blob) => saveBlob(`${name}.png`, blob), "image/png");
  }
  view.background(before);
  view.runAsync();
};

// A cell that a spreadsheet would take for a formula is marked as text.
const cellOf = (value) => {
  const text = typeof value === "number" ? (Number.isFinite(value) ? String(value) : "") : value.replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

const csvOf = (columns, mask) => {
  const head = ["arch", "source", "measured", "family", ...columns.quantities.map((one) => one.key), "blocks"];
  const lines = [head.join(",")];
  for (let row = 0; row < columns.count; row++) {
    if (!mask[row]) continue;
    const facts = [digestOf(columns, row), columns.sources[columns.source[row]], columns.isMeasured.has(row) ? "yes" : "no", columns.families[columns.family[row]].name];
    lines.push([...facts, ...columns.quantities.map((one) => one.values[row]), outlineOf(columns, row)].map(cellOf).join(","));
  }
  return `${lines.join("\n")}\n`;
};

const saveCsv = () => saveText("architectures.csv", csvOf(explorer.columns, explorer.inside), "text/csv");

const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    const area = make("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    say(done ? "Copied." : `Copy this by hand: ${text}`);
  }
};
