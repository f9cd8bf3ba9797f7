"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let views = {};
  let focused = "";

  const config = () => {
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

  const show = (digest) => {
    if (digest === focused) return;
    focused = digest;
    for (const element of document.querySelectorAll("[data-arch]")) {
      element.classList.toggle("on", element.dataset.arch === digest);
    }
    const cells = [...document.querySelectorAll(".stack.on .cell")].map((cell, i) => `${i + 1}. ${cell.title}`);
    const place = document.getElementById("blocks");
    if (place && cells.length) place.textContent = `${digest}: ${cells.join("; ")}`;
    if (views.front) views.front.signal("focus", digest).runAsync();
  };

  const reveal = (digest) => {
    const stack = [...document.querySelectorAll(".stack")].find((element) => element.dataset.arch === digest);
    if (!stack) return;
    const row = stack.parentElement;
    row.scrollTo({ left: stack.offsetLeft - row.offsetLeft - row.clientWidth / 2 + stack.clientWidth / 2 });
  };

  const draw = async () => {
    const entries = Object.entries(specs).map(async ([name, spec]) => {
      const options = { actions: false, ast: true, defaultStyle: false, renderer: "svg", config: config() };
      const { view } = await vegaEmbed(`#chart-${name}`, spec, { ...options, tooltip: { theme: dark.matches ? "dark" : "light" } });
      return [name, view];
    });
    views = Object.fromEntries(await Promise.all(entries));
    if (views.front) {
      views.front.addEventListener("mouseover", (_, item) => {
        const digest = item && item.datum && item.datum.digest;
        if (digest) { show(digest); reveal(digest); }
      });
    }
    document.body.dataset.ready = "yes";
  };

  for (const element of document.querySelectorAll("[data-arch]")) {
    for (const event of ["mouseenter", "focus"]) element.addEventListener(event, () => show(element.dataset.arch));
  }
  dark.addEventListener("change", draw);
  draw().catch((error) => {
    document.body.dataset.ready = "no";
    console.error(error);
  });
})();
