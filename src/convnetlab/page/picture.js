// A picture file becomes the pixels that the network takes, as convnetlab/image_files.py makes them
// with Pillow: upright, transparent parts on white, averaged by a whole number first, then resized
// with Hamming weights (or enlarged bilinearly), in whole numbers with Pillow's own roundings.
//
// The browser opens the file, though, so the pixels may differ a little: a JPEG's colours are made
// larger in another way, and Pillow may decode a large JPEG smaller at once; what is transparent in
// a WebP is rounded differently. And Chromium turns a JPEG upright, but not a WebP.
//
// A picture of several channels is {height, width, channels, values}: row after row, pixel after
// pixel, channel after channel, 0 to 255.

const GAP = 1.5; // averaging by a whole number leaves at least so many times the wanted size
const LARGE = 1000; // pixels: the longer side of a photographed drawing is never read larger
const STRIP = 4_000_000; // pixels of a large photograph that are looked at together
const RESCUE = 2048; // pixels: the width at which a photograph is opened that is too large whole

// A filter's weight at a distance from the middle, in pixels, and how far it reaches.
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    reach: 1,
    weight: (x) => {
      const angle = Math.abs(x) * Math.PI;
      if (angle === 0) return 1;
      if (angle >= Math.PI) return 0;
      return (Math.sin(angle) / angle) * (0.54 + 0.46 * Math.cos(angle));
    },
  },
  bicubic: {
    reach: 2,
    weight: (x) => {
      const far = Math.abs(x);
      if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
      if (far < 2) return ((-0.5 * far + 2.5) * far - 4) * far + 2;
      return 0;
    },
  },
};

class PictureError extends Error {}

/** Decode a file without its colour profile. The browser turns a JPEG upright by itself. */
async function openPicture(file) {
  const options = { colorSpaceConversion: "none" };
  try {
    return await createImageBitmap(file, options);
  } catch {
    // Damaged, of a foreign kind, or larger than this browser's memory allows: then smaller.
    try {
      return await createImageBitmap(file, { ...options, resizeWidth: RESCUE });
    } catch {
      throw new PictureError(
        "This browser cannot open that file as a picture. Choose a JPEG, PNG, GIF or WebP.",
      );
    }
  }
}

// ----- Pixels out of a bitmap -----

/** A box of an opened picture on white, in grey (1 channel) or colour (3). */
function pixelsOf(bitmap, { left, top, right, bottom }, channels) {
  const width = right - left,
    height = bottom - top;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  const colours = context.getImageData(0, 0, width, height).data;
  return {
    height,
    width,
    channels,
    values: channels === 1 ? greys(colours) : withoutAlpha(colours),
  };
}

/** Luminance by ITU-R recommendation 601, in Pillow's whole numbers. */
function greys(colours) {
  const values = new Uint8Array(colours.length / 4);
  for (let from = 0, to = 0; from < colours.length; from += 4, to += 1) {
    const red = colours[from],
      green = colours[from + 1],
      blue = colours[from + 2];
    values[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return values;
}

function withoutAlpha(colours) {
  const values = new Uint8Array((colours.length / 4) * 3);
  for (let from = 0, to = 0; from < colours.length; from += 4, to += 3) {
    values[to] = colours[from];
    values[to + 1] = colours[from + 1];
    values[to + 2] = colours[from + 2];
  }
  return values;
}

// ----- Smaller by a whole number: each block of pixels becomes its mean -----

/** A large photograph is taken in strips, so that never more than a strip is copied. */
function reduced(bitmap, box, across, down, channels) {
  const width = Math.ceil((box.right - box.left) / across);
  const height = Math.ceil((box.bottom - box.top) / down);
  const values = new Uint8Array(width * height * channels);
  const rows = Math.max(1, Math.floor(STRIP / (box.right - box.left) / down));
  for (let row = 0; row < height; row += rows) {
    const top = box.top + row * down;
    const bottom = Math.min(box.bottom, top + rows * down);
    const strip = pixelsOf(bitmap, { ...box, top, bottom }, channels);
    values.set(blockMeans(strip, across, down), row * width * channels);
  }
  return { height, width, channels, values };
}

function blockMeans({ height, width, channels, values }, across, down) {
  const columns = Math.ceil(width / across),
    rows = Math.ceil(height / down);
  const means = new Uint8Array(columns * rows * channels);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * down);
    for (let column = 0; column < columns; column++) {
      const right = Math.min(width, (column + 1) * across);
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let y = row * down; y < bottom; y++) {
          for (let x = column * across; x < right; x++) {
            sum += values[(y * width + x) * channels + channel];
          }
        }
        const count = (bottom - row * down) * (right - column * across);
        means[(row * columns + column) * channels + channel] = meanOf(sum, count);
      }
    }
  }
  return means;
}

/**
 * Pillow multiplies by 2²⁴ / count, rounded down: of halves that gives the smaller one.
 */
function meanOf(sum, count) {
  const reciprocal = Math.trunc(Math.fround(2 ** 24 / count));
  return Math.floor(((sum + (count >> 1)) * reciprocal) / 2 ** 24);
}

// ----- Any size: weighted means -----

/**
 * For each of `wanted` pixels between two ends of `length`: the first pixel that counts, and the
 * weights as whole numbers of 2⁻²². Pillow keeps the ends as numbers of 32 bits.
 */
function filterWeights(length, from, to, wanted, { reach, weight }) {
  const [start, end] = [Math.fround(from), Math.fround(to)];
  const scale = Math.fround(end - start) / wanted;
  const spread = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * spread + 0.5));
    const last = Math.min(length, Math.trunc(centre + reach * spread + 0.5));
    const weights = [];
    for (let pixel = first; pixel < last; pixel++) {
      weights.push(weight((pixel - centre + 0.5) / spread));
    }
    const sum = weights.reduce((so_far, each) => so_far + each, 0);
    const whole = (each) => Math.sign(each) * Math.floor(Math.abs(each) * 2 ** 22 + 0.5);
    return { first, weights: weights.map((each) => whole(each / sum)) };
  });
}

/**
 * The picture, or a box of it, with another width and height: first across, then down. (Pillow 13
 * begins with the height where that shrinks more; then a value can differ by 1.)
 */
function resample(picture, width, height, filter, box) {
  const { left, top, right, bottom } = box ?? wholeOf(picture);
  const { channels } = picture;
  const acrossWeights = filterWeights(picture.width, left, right, width, filter);
  const downWeights = filterWeights(picture.height, top, bottom, height, filter);
  const narrow = new Uint8ClampedArray(picture.height * width * channels);
  for (let row = 0; row < picture.height; row++) {
    const from = row * picture.width * channels,
      to = row * width * channels;
    weightedMeans(picture.values, from, channels, acrossWeights, narrow, to, channels, channels);
  }
  const values = new Uint8ClampedArray(height * width * channels);
  const line = width * channels;
  weightedMeans(narrow, 0, line, downWeights, values, 0, line, line);
  return { height, width, channels, values: new Uint8Array(values.buffer) };
}

/**
 * Along one line: `together` neighbouring values are taken the same way; from one pixel to the next
 * it is `step` values in the source and `stride` in the result.
 */
function weightedMeans(source, from, step, allWeights, result, to, stride, together) {
  allWeights.forEach(({ first, weights }, place) => {
    for (let each = 0; each < together; each++) {
      let sum = 2 ** 21; // a half, so that cutting off rounds
      for (let k = 0; k < weights.length; k++) {
        sum += weights[k] * source[from + (first + k) * step + each];
      }
      result[to + place * stride + each] = Math.floor(sum / 2 ** 22);
    }
  });
}

function wholeOf({ width, height }) {
  return { left: 0, top: 0, right: width, bottom: height };
}

// ----- Both together, as Pillow's Image.resize(…, reducing_gap=gap) -----

function resizedPicture(bitmap, width, height, filter, channels, gap, box = wholeOf(bitmap)) {
  const across = Math.trunc((box.right - box.left) / width / gap) || 1;
  const down = Math.trunc((box.bottom - box.top) / height / gap) || 1;
  const around = safeBox(bitmap, box, width, height, filter);
  const small = reduced(bitmap, around, across, down, channels);
  return resample(small, width, height, filter, {
    left: (box.left - around.left) / across,
    top: (box.top - around.top) / down,
    right: (box.right - around.left) / across,
    bottom: (box.bottom - around.top) / down,
  });
}

/** A box of whole pixels that holds all that the filter will ask for. */
function safeBox(bitmap, { left, top, right, bottom }, width, height, { reach }) {
  const across = ((reach - 0.5) * (right - left)) / width;
  const down = ((reach - 0.5) * (bottom - top)) / height;
  return {
    left: Math.max(0, Math.trunc(left - across)),
    top: Math.max(0, Math.trunc(top - down)),
    right: Math.min(bitmap.width, Math.ceil(right + across)),
    bottom: Math.min(bitmap.height, Math.ceil(bottom + down)),
  };
}

// ----- What each kind of run does with a photograph -----

/**
 * A photograph as a square of `size` pixels: `pad` keeps it whole between black bars, `crop` cuts
 * the longer side from the middle, `stretch` keeps it whole and not its shape.
 */
function framed(bitmap, size, fit, channels) {
  const wanted = targetSize(bitmap, size, fit);
  const shrinks = bitmap.width >= wanted.width && bitmap.height >= wanted.height;
  if (Math.min(wanted.width, wanted.height) < size) {
    const filter = shrinks ? FILTERS.hamming : FILTERS.bilinear;
    const inside = resizedPicture(bitmap, wanted.width, wanted.height, filter, channels, GAP);
    return { wanted, ...onSquare(inside, size) };
  }
  const across = (bitmap.width * size) / wanted.width;
  const down = (bitmap.height * size) / wanted.height;
  const left = (bitmap.width - across) / 2,
    top = (bitmap.height - down) / 2;
  const box = { left, top, right: left + across, bottom: top + down };
  const isLarge = bitmap.width >= size && bitmap.height >= size;
  const filter = isLarge ? FILTERS.hamming : FILTERS.bilinear;
  return { wanted, ...resizedPicture(bitmap, size, size, filter, channels, GAP, box) };
}

function targetSize({ width, height }, size, fit) {
  if (fit === "stretch") return { width: size, height: size };
  const scale = size / (fit === "pad" ? Math.max(width, height) : Math.min(width, height));
  return {
    width: Math.max(1, halfEven(width * scale)),
    height: Math.max(1, halfEven(height * scale)),
  };
}

/** The nearest whole number, of two equally near the even one, as Python rounds. */
function halfEven(value) {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}

function onSquare({ height, width, channels, values }, size) {
  const square = new Uint8Array(size * size * channels);
  const top = Math.floor((size - height) / 2),
    left = Math.floor((size - width) / 2);
  for (let row = 0; row < height; row++) {
    const line = values.subarray(row * width * channels, (row + 1) * width * channels);
    square.set(line, ((top + row) * size + left) * channels);
  }
  return { height: size, width: size, channels, values: square };
}

/** A photographed drawing in grey, made smaller if it is very large. */
function greyPicture(bitmap) {
  const scale = Math.min(1, LARGE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1) return pixelsOf(bitmap, wholeOf(bitmap), 1);
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  return resizedPicture(bitmap, width, height, FILTERS.bicubic, 1, 2);
}
