// The charts that the page was made with, and the buttons that save one.
const views = {};
const EMBED = { actions: false, ast: true, defaultStyle: false };

const embed = async (name, spec, renderer = "svg") => {
  const place = byId(`chart-${name}`);
  if (!place) return null;
  if (views[name]) views[name].finalize();
  const tooltip = { theme: dark.matches ? "dark" : "light" };
  const { view } = await vegaEmbed(place, spec, { ...EMBED, renderer, config: themed(), tooltip });
  views[name] = view;
  addSaving(name, place);
  return view;
};

const addSaving = (name, place) => {
  if (place.nextElementSibling && place.nextElementSibling.classList.contains("saving")) return;
  const button = (kind) =>
    make("button", { type: "button", "aria-label": `save chart ${name} as ${kind}`, onclick: () => saveChart(name, kind) }, kind);
  place.after(make("div", { class: "saving" }, button("SVG"), button("PNG")));
};

const drawCharts = (specs) => Promise.all(Object.entries(specs).map(([name, spec]) => embed(name, spec)));
