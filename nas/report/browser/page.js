// What all parts share: elements, numbers as people read them, and the theme.
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(element.style, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== "" && child !== null && child !== undefined));
  return element;
};

const shown = (value, digits = 4) => {
  if (!Number.isFinite(value)) return "not known";
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 1e5) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
};

const say = (text) => {
  const place = byId("said");
  if (place) place.textContent = text;
};

const soon = (work, wait = 0) => {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), wait);
  };
};

const themed = () => {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const text = { labelColor: soft, titleColor: soft, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line, labelOverlap: true },
    legend: { ...text, symbolStrokeColor: soft, symbolFillColor: soft },
    text: { color: ink, fill: ink },
  };
};

const accent = () => getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
const inkColour = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
