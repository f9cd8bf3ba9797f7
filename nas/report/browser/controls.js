// Pickers, sliders, families, words and keys.
const isLogarithmic = (one) => one.low > 0 && one.high / one.low > 20;

const limitAt = (one, position) => {
  if (position >= 1000) return undefined;
  const share = position / 1000;
  return isLogarithmic(one) ? one.low * (one.high / one.low) ** share : one.low + (one.high - one.low) * share;
};

const positionOf = (one, limit) => {
  if (limit === undefined) return 1000;
  const share = isLogarithmic(one) ? Math.log(limit / one.low) / Math.log(one.high / one.low) : (limit - one.low) / (one.high - one.low || 1);
  return Math.max(0, Math.min(1000, Math.round(1000 * share)));
};

const showLimit = (key) => {
  const [slider, limit] = [byId(`limit-${key}`), picked.limits[key]];
  const output = slider.parentElement.querySelector("output");
  output.textContent = limit === undefined ? "any" : `≤ ${shown(limit, 3)}`;
  slider.setAttribute("aria-valuetext", output.textContent);
  slider.dataset.value = limit === undefined ? "" : String(limit);
};

// Controls say what is picked, whoever picked it: the reader, a link, or an earlier state of a live page.
const syncControls = () => {
  const { columns } = explorer;
  for (const axis of ["x", "y"]) byId(`pick-${axis}`).value = picked[axis];
  for (const key of columns.limits) {
    byId(`limit-${key}`).value = String(positionOf(columns.by.get(key), picked.limits[key]));
    showLimit(key);
  }
  for (const button of document.querySelectorAll(".family")) button.setAttribute("aria-pressed", String(!picked.off.has(Number(button.dataset.family))));
  byId("find").value = picked.find;
};

const bindControls = () => {
  for (const axis of ["x", "y"]) {
    byId(`pick-${axis}`).addEventListener("change", async (event) => {
      picked[axis] = event.target.value;
      picked.brush = null;
      await drawScatter();
      showBrush();
      showPanel();
      keepLink();
    });
  }
  for (const slider of document.querySelectorAll("[data-limit]")) {
    const { limit: key } = slider.dataset;
    slider.addEventListener("input", () => {
      picked.limits[key] = limitAt(explorer.columns.by.get(key), Number(slider.value));
      showLimit(key);
      refilterSoon();
    });
  }
  for (const button of document.querySelectorAll(".family")) button.addEventListener("click", () => toggleFamily(Number(button.dataset.family)));
  byId("find").addEventListener("input", soon((event) => {
    picked.find = event.target.value;
    refilterSoon();
  }, 120));
  byId("do-reset").addEventListener("click", reset);
  byId("do-link").addEventListener("click", () => { writeLink(); copy(location.href); });
  byId("do-csv").addEventListener("click", saveCsv);
};

let isFiltering = false;
const refilterSoon = () => {
  if (isFiltering) return;
  isFiltering = true;
  requestAnimationFrame(() => {
    isFiltering = false;
    refilter();
    keepLink();
  });
};

const toggleFamily = (index) => {
  if (!picked.off.delete(index)) picked.off.add(index);
  syncControls();
  refilterSoon();
};

const reset = async () => {
  Object.assign(picked, starting(explorer.columns));
  syncControls();
  clearChosen();
  await drawScatter();
  showBrush();
};

const walk = (step) => {
  const { front } = explorer;
  if (!front.length) return;
  const at = front.indexOf(picked.focus);
  const next = Number.isFinite(step) ? (at < 0 ? (step > 0 ? 0 : front.length - 1) : Math.max(0, Math.min(front.length - 1, at + step))) : step < 0 ? 0 : front.length - 1;
  picked.focus = front[next];
  pushChosen();
  say(`${next + 1} of ${front.length} on the front: ${spoken(explorer.columns, picked.focus)}`);
};

const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };

const bindKeys = () => {
  byId("plot").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in STEPS) walk(STEPS[event.key]);
    else if (event.key === "Enter" && picked.focus >= 0) choose(picked.focus, event.shiftKey);
    else if (event.key === "c" && picked.focus >= 0) choose(picked.focus, true);
    else return;
    event.preventDefault();
  });
};

const onAnyKey = (event) => {
  if (!explorer.columns || event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input[type=search], select, textarea");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    byId("find").focus();
  } else if (event.key === "Escape") {
    if (event.target.id === "find") byId("plot").focus({ preventScroll: true });
    else if (picked.brush) clearBrush();
    else if (isComparing) startComparing();
    else if (picked.compared >= 0) { picked.compared = -1; showChosen(); }
    else if (picked.chosen >= 0) clearChosen();
  }
};
