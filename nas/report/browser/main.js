// Everything starts here; `data-ready` on the body says how it went.
const startExplorer = async () => {
  readLink();
  syncControls();
  bindControls();
  bindKeys();
  bindPointer();
  await drawScatter();
  await drawParallel();
  showBrush();
  showPanel();
};

const start = async () => {
  const data = JSON.parse(byId("data").textContent);
  bindStacks();
  addEventListener("keydown", onAnyKey);
  if (data.explorer) {
    explorer.columns = readColumns(data.explorer);
    await startExplorer();
  }
  await drawCharts(data.charts);
  addEventListener("hashchange", async () => {
    if (!explorer.columns) return;
    readLink();
    syncControls();
    await drawScatter();
    showBrush();
    showPanel();
  });
  dark.addEventListener("change", async () => {
    await drawCharts(data.charts);
    if (explorer.columns) await Promise.all([drawScatter(), drawParallel()]);
  });
  if (data.live !== null) live(data.live);
  performance.mark("ready");
  document.body.dataset.ready = "yes";
};

start().catch((error) => {
  document.body.dataset.ready = "no";
  console.error(error);
});
