// The view as the part of the address behind #, so that a link shows another reader the same.
const writeLink = () => {
  const { columns } = explorer;
  const parts = new URLSearchParams();
  const usual = starting(columns);
  for (const axis of ["x", "y"]) if (picked[axis] !== usual[axis]) parts.set(axis, picked[axis]);
  for (const [key, limit] of Object.entries(picked.limits)) if (limit !== undefined) parts.set(`max.${key}`, String(Number(limit.toPrecision(9))));
  if (picked.off.size) parts.set("off", [...picked.off].map((i) => columns.families[i].name).join(","));
  if (picked.find) parts.set("find", picked.find);
  if (picked.brush) parts.set("brush", picked.brush.map((value) => Number(value.toPrecision(7))).join(","));
  if (picked.chosen >= 0) parts.set("arch", digestOf(columns, picked.chosen));
  if (picked.compared >= 0) parts.set("with", digestOf(columns, picked.compared));
  const text = parts.toString();
  if (`#${text}` !== location.hash && (text || location.hash)) history.replaceState(null, "", `#${text}`);
};

const keepLink = soon(writeLink, 150);

const readLink = () => {
  const { columns } = explorer;
  const parts = new URLSearchParams(location.hash.slice(1));
  Object.assign(picked, starting(columns));
  for (const axis of ["x", "y"]) if (columns.by.has(parts.get(axis))) picked[axis] = parts.get(axis);
  for (const key of columns.limits) {
    const limit = Number(parts.get(`max.${key}`));
    if (parts.has(`max.${key}`) && Number.isFinite(limit)) picked.limits[key] = limit;
  }
  const off = (parts.get("off") || "").split(",");
  columns.families.forEach((family, i) => { if (off.includes(family.name)) picked.off.add(i); });
  picked.find = parts.get("find") || "";
  const brush = (parts.get("brush") || "").split(",").map(Number);
  if (brush.length === 4 && brush.every(Number.isFinite)) picked.brush = brush;
  picked.chosen = rowOf(columns, parts.get("arch") || "");
  picked.compared = picked.chosen < 0 ? -1 : rowOf(columns, parts.get("with") || "");
  picked.focus = picked.chosen;
};
