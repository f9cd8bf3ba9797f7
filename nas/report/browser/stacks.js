// The front's layer stacks and its table: point at one to read it, choose it to see it in the panel.
const pointedAt = (digest) => {
  const stacks = [...document.querySelectorAll(".stacks .stack")];
  for (const element of document.querySelectorAll("[data-arch]")) element.classList.toggle("on", element.dataset.arch === digest);
  const own = stacks.find((element) => element.dataset.arch === digest);
  const place = byId("blocks");
  if (own && place) place.textContent = `${digest}: ${[...own.querySelectorAll(".cell")].map((cell, i) => `${i + 1}. ${cell.title}`).join("; ")}`;
};

const chooseByDigest = (digest, isSecond) => {
  if (!explorer.columns) return;
  const row = rowOf(explorer.columns, digest);
  if (row < 0) return;
  choose(row, isSecond);
  byId("front").scrollIntoView({ block: "start" });
};

const markStacks = () => {
  const { columns } = explorer;
  const digests = [picked.chosen, picked.compared].filter((row) => row >= 0).map((row) => digestOf(columns, row));
  for (const element of document.querySelectorAll("[data-arch]")) element.classList.toggle("on", digests.includes(element.dataset.arch));
};

const bindStacks = () => {
  for (const element of document.querySelectorAll("[data-arch]:not([data-bound])")) {
    element.dataset.bound = "yes";
    const { arch } = element.dataset;
    for (const event of ["mouseenter", "focus"]) element.addEventListener(event, () => pointedAt(arch));
    element.addEventListener("click", (event) => chooseByDigest(arch, event.shiftKey));
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter") chooseByDigest(arch, event.shiftKey);
    });
  }
};
