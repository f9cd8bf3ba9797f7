// At most some thousands of marks: of all rows in one cell of the screen the best is drawn, and the front always.
const MOST_DRAWN = 4000;

const thinned = (columns, picked, keep, always, width, height) => {
  for (let size = 3; ; size *= 1.5) {
    const rows = oneEach(columns, picked, keep, always, Math.ceil(width / size), Math.ceil(height / size));
    if (rows.length <= MOST_DRAWN || size > width) return rows;
  }
};

const oneEach = (columns, picked, keep, always, across, up) => {
  const [x, y] = [columns.by.get(picked.x), columns.by.get(picked.y)];
  const cells = new Int32Array(across * up).fill(-1);
  const sign = y.better === "more" ? -1 : 1;
  const place = (one, value, count) => Math.min(count - 1, Math.floor(((value - one.low) / (one.high - one.low || 1)) * count));
  for (let row = 0; row < columns.count; row++) {
    const [a, b] = [x.values[row], y.values[row]];
    if (!keep[row] || !Number.isFinite(a) || !Number.isFinite(b) || always.has(row)) continue;
    const cell = place(x, a, across) + across * place(y, b, up);
    const known = cells[cell];
    if (known < 0 || sign * b < sign * y.values[known]) cells[cell] = row;
  }
  const rows = [];
  for (const row of cells) if (row >= 0) rows.push(row);
  for (const row of always) if (keep[row] && Number.isFinite(x.values[row]) && Number.isFinite(y.values[row])) rows.push(row);
  return rows;
};
