// A live page: asks for all that changes when the server says that something did, or now and then if it cannot say so, and
// keeps what the reader has picked.
const LEAST_BETWEEN = 1000;
const POLL = 10000;

const live = (prefix) => {
  const state = { isAsking: false, isStale: false, last: 0 };
  const place = make("span", { role: "status" }, "live: waiting for news");
  const links = [make("a", { href: "/" }, "all runs"), " · "];
  if (!prefix.includes("+")) links.push(make("a", { href: `${prefix}/activity` }, "activity"), " · ");
  document.querySelector("main").prepend(make("p", { class: "live" }, ...links, place));
  const ask = async () => {
    if (state.isAsking) { state.isStale = true; return; }
    state.isAsking = true;
    const wait = LEAST_BETWEEN - (performance.now() - state.last);
    if (wait > 0) await new Promise((done) => { setTimeout(done, wait); });
    state.last = performance.now();
    state.isStale = false;
    try {
      const answer = await fetch(`${prefix}/payload`, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      await update(await answer.json());
      place.textContent = `live: as of ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      place.textContent = `live: not up to date (${error.message}), trying again`;
      setTimeout(ask, 5000);
    }
    state.isAsking = false;
    if (state.isStale) ask();
  };
  const events = new EventSource(`${prefix}/events`);
  events.onmessage = ask;
  let polling = 0;
  events.onerror = () => {
    place.textContent = "live: connection lost, trying again";
    polling ||= setInterval(ask, POLL);
  };
  events.onopen = () => {
    clearInterval(polling);
    polling = 0;
    ask();
  };
};

const update = async (found) => {
  const scroll = scrollY;
  const isNew = !explorer.columns !== !found.explorer;
  for (const [key, html] of Object.entries(found.sections)) replaceSection(key, html, isNew);
  bindStacks();
  await drawChanged(found.charts);
  if (found.explorer) await updateExplorer(found.explorer, isNew);
  scrollTo({ top: scroll, behavior: "instant" });
};

const known = { sections: {}, charts: {} };

const replaceSection = (key, html, isNew) => {
  const before = byId(key);
  if (!before || known.sections[key] === html || (key === "front" && explorer.columns && !isNew)) return;
  known.sections[key] = html;
  const open = [...before.querySelectorAll("details")].map((one) => one.open);
  const across = [...before.querySelectorAll(".scroll, .stacks")].map((one) => one.scrollLeft);
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const after = holder.content.firstElementChild;
  before.replaceWith(after);
  after.querySelectorAll("details").forEach((one, i) => { one.open = Boolean(open[i]); });
  after.querySelectorAll(".scroll, .stacks").forEach((one, i) => { one.scrollLeft = across[i] || 0; });
};

const drawChanged = async (charts) => {
  for (const [name, spec] of Object.entries(charts)) {
    const text = JSON.stringify(spec);
    const place = byId(`chart-${name}`);
    if (place && (known.charts[name] !== text || !place.firstElementChild)) {
      known.charts[name] = text;
      await embed(name, spec);
    }
  }
};

const updateExplorer = async (data, isNew) => {
  const before = explorer.columns;
  const [chosen, compared, focus] = [picked.chosen, picked.compared, picked.focus].map((row) => (before && row >= 0 ? digestOf(before, row) : ""));
  const off = before ? [...picked.off].map((i) => before.families[i].name) : [];
  explorer.columns = readColumns(data);
  if (isNew) return startExplorer();
  const { columns } = explorer;
  Object.assign(picked, { chosen: rowOf(columns, chosen), compared: rowOf(columns, compared), focus: rowOf(columns, focus) });
  picked.off = new Set(columns.families.flatMap((family, i) => (off.includes(family.name) ? [i] : [])));
  rebuildControls(columns, before);
  await drawScatter();
  showBrush();
  showPanel();
  return drawParallel();
};

// New families or quantities need new buttons; the others keep the focus that they may have.
const rebuildControls = (columns, before) => {
  const shape = (one) => JSON.stringify([one.families.map((f) => f.name), one.quantities.map((q) => q.key), one.limits]);
  if (shape(columns) === shape(before)) return;
  const options = () => columns.quantities.map((one) => make("option", { value: one.key }, one.title));
  for (const axis of ["x", "y"]) byId(`pick-${axis}`).replaceChildren(...options());
  document.querySelector(".families").replaceChildren(...columns.families.map((family, i) => make("button", { type: "button", class: "family", "data-family": i, "aria-pressed": "true", onclick: () => toggleFamily(i) }, make("i", { style: { background: family.colour, color: family.ink } }, family.letter), family.name)));
  syncControls();
};
