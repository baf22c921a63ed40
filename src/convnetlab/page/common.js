// What the other parts of the page share: its state, and small helps.
//
// Whatever somebody has named (classes, the run) is only ever set as text, never as HTML.

const PEN = 0.075; // of the sheet's longer side: about as thick as the strokes of MNIST's digits
const SHEET = 280; // pixels, about: the longer side of the sheet that ink is read from
const KEY_STEP = 1 / 28; // of a side: how far an arrow key moves the pen
const LIVE = 25; // milliseconds: a network that takes longer answers when the pen is lifted
const PAUSE = 250; // milliseconds that a slow network waits for another stroke
const SPOKEN_AFTER = 700; // milliseconds: a screen reader hears an answer that has settled
// How many are shown at first.
const FIRST = { bars: 10, layers: 12, maps: 64, units: 512, glances: 6 };
const PREVIEW = 800; // pixels: the longer side of a photograph as the page shows it

const byId = (id) => document.getElementById(id);
// Beside the network the page knows these (`as_json` in convnetlab/edge_page.py makes them, and
// `readFacts` reads them).
let facts, HEIGHT, WIDTH, CHANNELS, isDrawn;

const state = {
  strokes: [], // each a list of points {x, y}, 0 to 1
  given: null, // a photograph or example instead: {preview, steps, pixels, text}
  last: null, // the last answer: {probabilities, layers}
  times: [], // of the last passes through the network, in milliseconds
  showsAll: { bars: false, layers: false },
};
let network;

function readFacts() {
  try {
    facts = JSON.parse(byId("facts").textContent);
    [HEIGHT, WIDTH, CHANNELS] = facts.shape;
    isDrawn = facts.drawn !== null;
  } catch {
    throw new ModelError("What the page says of it cannot be read.");
  }
}

/** Make an element with text or children in it. */
function make(tag, { className = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

/** A user's name for something, in whatever script, apart from the text around it. */
const named = (name) => make("bdi", { dir: "auto" }, name);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
const grouped = (number) => number.toLocaleString("en-GB");

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// What eight zero bits after a byte leave of it when divided by CRC-32's polynomial.
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, rest) => {
  for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  return rest;
});

/** CRC-32 of bytes, as in zip files and Python's zlib: a changed bit changes it. */
function checksumOf(bytes) {
  let rest = -1;
  for (const byte of bytes) rest = (rest >>> 8) ^ REMAINDERS[(rest ^ byte) & 255];
  return ~rest >>> 0;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** The classes, the most probable first. */
function ranking(probabilities) {
  return Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
}
