// What was done to the drawings that the network learnt from is done here to a new one: its ink is
// cut out, scaled, and put in the middle by its centre of mass (Y. LeCun et al., "Gradient-based
// learning applied to document recognition", 1998, section III A). The same steps in Python:
// convnetlab/drawings.py.
//
// A picture of one channel is {height, width, values}: row after row, 0 to 255. In ink, 0 is where
// nothing was drawn.

const FAINT = 16; // grey levels: what differs less from the ground of a photograph is no ink

/** The smallest box that holds all ink, its ends exclusive; null if there is none. */
function inkBox({ height, width, values }) {
  const box = { top: height, bottom: 0, left: width, right: 0 };
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (values[row * width + column] === 0) continue;
      box.top = Math.min(box.top, row);
      box.bottom = row + 1;
      box.left = Math.min(box.left, column);
      box.right = Math.max(box.right, column + 1);
    }
  }
  return box.bottom === 0 ? null : box;
}

function cut({ width, values }, { top, bottom, left, right }) {
  const height = bottom - top,
    columns = right - left;
  const inside = new Float64Array(height * columns);
  for (let row = 0; row < height; row++) {
    const start = (top + row) * width + left;
    inside.set(values.subarray(start, start + columns), row * columns);
  }
  return { height, width: columns, values: inside };
}

/**
 * How much each of `length` pixels in a row counts in each of `wanted` larger ones: of each larger
 * one the first pixel that it covers, and the overlaps as shares of the larger one.
 */
function areaWeights(length, wanted) {
  return Array.from({ length: wanted }, (_, place) => {
    const start = (place * length) / wanted;
    const end = ((place + 1) * length) / wanted;
    const first = Math.floor(start);
    const overlaps = [];
    for (let pixel = first; pixel < end; pixel++) {
      overlaps.push((Math.min(end, pixel + 1) - Math.max(start, pixel)) / (length / wanted));
    }
    return { first, overlaps };
  });
}

/** The picture with another height and width; each pixel is the mean of the area that it covers. */
function areaAverage({ height: rows, width: columns, values }, height, width) {
  const narrow = new Float64Array(height * columns);
  areaWeights(rows, height).forEach(({ first, overlaps }, row) => {
    overlaps.forEach((share, step) => {
      for (let column = 0; column < columns; column++) {
        narrow[row * columns + column] += share * values[(first + step) * columns + column];
      }
    });
  });
  const small = new Float64Array(height * width);
  areaWeights(columns, width).forEach(({ first, overlaps }, column) => {
    for (let row = 0; row < height; row++) {
      let sum = 0;
      overlaps.forEach((share, step) => (sum += share * narrow[row * columns + first + step]));
      small[row * width + column] = sum;
    }
  });
  return { height, width, values: small };
}

/** The row and the column, from 0, on which the ink would balance. */
function centreOfMass({ width, values }) {
  let total = 0,
    alongRows = 0,
    alongColumns = 0;
  values.forEach((ink, place) => {
    total += ink;
    alongRows += ink * Math.floor(place / width);
    alongColumns += ink * (place % width);
  });
  return { row: alongRows / total, column: alongColumns / total };
}

/**
 * Ink fitted into `share` of height × width, on black, by its centre of mass. With `stretch` the
 * strongest ink becomes 255, as photographs need it. What was found on the way is returned too.
 */
function centred(ink, height, width, share, stretch) {
  const scale = share * Math.min(height / ink.height, width / ink.width);
  const rows = Math.max(1, Math.round(ink.height * scale)); // Math.round: of halves the larger one
  const columns = Math.max(1, Math.round(ink.width * scale));
  const small = areaAverage(ink, rows, columns);
  const balance = centreOfMass(small);
  const top = Math.min(Math.max(Math.round(height / 2 - balance.row), 0), height - rows);
  const left = Math.min(Math.max(Math.round(width / 2 - balance.column), 0), width - columns);
  if (stretch) {
    const strongest = small.values.reduce((most, value) => Math.max(most, value));
    small.values = small.values.map((value) => (value * 255) / strongest);
  }
  const page = new Uint8Array(height * width);
  small.values.forEach((value, place) => {
    const row = top + Math.floor(place / columns);
    page[row * width + left + (place % columns)] = Math.round(value);
  });
  const middle = { row: top + balance.row + 0.5, column: left + balance.column + 0.5 };
  return { small, middle, page: { height, width, values: page } };
}

/** Bright ink on black stays as it is, or becomes dark ink on white; and the other way round. */
function onGround(values, isDark) {
  return isDark ? values : values.map((value) => 255 - value);
}

/** What the network gets of a canvas's ink, with each step on the way; null of an empty canvas. */
function normalised(canvas, height, width, drawn) {
  const box = inkBox(canvas);
  if (box === null) return null;
  const ink = cut(canvas, box);
  const steps = centred(ink, height, width, drawn.share, false);
  return { canvas, box, ink, ...steps, pixels: onGround(steps.page.values, drawn.isDark) };
}

/** The whole canvas made smaller, and nothing else done: what most first attempts do. */
function naive(canvas, height, width, isDark) {
  const small = areaAverage(canvas, height, width);
  return onGround(Uint8Array.from(small.values, Math.round), isDark);
}

// ----- Photographs of a drawing: the ground must be found first -----

/** The grey level of the ground: the median of the outermost pixels. */
function groundOf({ height, width, values }) {
  const levels = values.filter((_, place) => isOutermost(place, height, width)).sort();
  const half = levels.length >> 1;
  return Math.floor(levels.length % 2 ? levels[half] : (levels[half - 1] + levels[half]) / 2);
}

function isOutermost(place, height, width) {
  const row = Math.floor(place / width),
    column = place % width;
  return row === 0 || row === height - 1 || column === 0 || column === width - 1;
}

/**
 * How far each pixel is from the ground, faint ones set to 0. Paper is seldom lit evenly, so the
 * ground is a plane through the outermost pixels. What lies on its other side than most ink is 0.
 */
function inkOf(grey) {
  const { height, width, values } = grey;
  const plane = planeThrough(grey);
  let apart = Float64Array.from(values, (value, place) => {
    return value - plane(Math.floor(place / width), place % width);
  });
  if (apart.reduce((sum, value) => sum + value) < 0) apart = apart.map((value) => -value);
  const least = Math.max(FAINT, threshold(apart));
  return { height, width, values: apart.map((value) => (value < least ? 0 : value)) };
}

/**
 * The plane through the outermost pixels, by least squares. Counted from the middle of a rim, rows,
 * columns and ones are orthogonal, so that each coefficient is one quotient.
 */
function planeThrough({ height, width, values }) {
  const middle = { row: (height - 1) / 2, column: (width - 1) / 2 };
  let count = 0,
    sum = 0,
    down = 0,
    downSquared = 0,
    across = 0,
    acrossSquared = 0;
  values.forEach((value, place) => {
    if (!isOutermost(place, height, width)) return;
    const row = Math.floor(place / width) - middle.row;
    const column = (place % width) - middle.column;
    count += 1;
    sum += value;
    down += row * value;
    downSquared += row * row;
    across += column * value;
    acrossSquared += column * column;
  });
  const slope = { down: down / (downSquared || 1), across: across / (acrossSquared || 1) };
  return (row, column) =>
    sum / count + slope.down * (row - middle.row) + slope.across * (column - middle.column);
}

/**
 * The value, 0 to 255, that divides others best into two groups: their means are as far apart as
 * can be (N. Otsu, "A threshold selection method from gray-level histograms", 1979).
 */
function threshold(values) {
  const counts = new Float64Array(256);
  values.forEach((value) => (counts[Math.trunc(Math.min(Math.max(value, 0), 255))] += 1));
  const total = values.length;
  const sum = counts.reduce((so_far, count, level) => so_far + count * level, 0);
  let best = 0,
    furthest = -1,
    below = 0,
    sumBelow = 0;
  counts.forEach((count, level) => {
    below += count;
    sumBelow += count * level;
    const above = total - below;
    const difference = sumBelow / (below || 1) - (sum - sumBelow) / (above || 1);
    const apart = below * above * difference ** 2;
    if (apart > furthest) [best, furthest] = [level, apart];
  });
  return best + 1;
}

/**
 * What the network gets of a grey picture, with the steps on the way. A picture of the data set's
 * own size stays as it is, apart from its ground.
 */
function asDrawing(grey, height, width, drawn) {
  const isInverted = groundOf(grey) < 128 !== drawn.isDark;
  const seen = isInverted ? { ...grey, values: grey.values.map((value) => 255 - value) } : grey;
  if (grey.height === height && grey.width === width) {
    return { kind: "as it is", isInverted, seen, pixels: seen.values };
  }
  const canvas = inkOf(seen);
  const box = inkBox(canvas);
  if (box === null) {
    const small = resample({ ...seen, channels: 1 }, width, height, FILTERS.bilinear);
    return { kind: "no ink", isInverted, seen, pixels: small.values };
  }
  const ink = cut(canvas, box);
  const steps = centred(ink, height, width, drawn.share, true);
  const pixels = onGround(steps.page.values, drawn.isDark);
  return { kind: "ink", isInverted, seen, canvas, box, ink, ...steps, pixels };
}
