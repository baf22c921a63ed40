// The page: what is drawn or photographed goes through the network, and what comes out is shown.
// Whatever somebody has named (classes, the run) is only ever set as text, never as HTML.

const PEN = 0.075; // of the sheet's longer side: about as thick as the strokes of MNIST's digits
const SHEET = 280; // pixels, about: the longer side of the sheet that the network's ink is read from
const KEY_STEP = 1 / 28; // of a side: how far an arrow key moves the pen
const LIVE = 25; // milliseconds: a network that takes longer answers when the pen is lifted
const PAUSE = 250; // milliseconds that a slow network waits for another stroke
const SPOKEN_AFTER = 700; // milliseconds: a screen reader hears an answer that has settled
const FIRST = { bars: 10, layers: 12, maps: 64, units: 512, glances: 6 }; // how many are shown at first
const PREVIEW = 800; // pixels: the longer side of a photograph as the page shows it

const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const [HEIGHT, WIDTH, CHANNELS] = facts.shape;
const isDrawn = facts.drawn !== null;

const state = {
  strokes: [], // each a list of points {x, y}, 0 to 1
  given: null, // a photograph or example instead: {preview, steps, pixels, text}
  last: null, // the last answer: {probabilities, layers}
  times: [], // of the last passes through the network, in milliseconds
  showsAll: { bars: false, layers: false },
};
let network;

// ----- Small things -----

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

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** The classes, the most probable first. */
function ranking(probabilities) {
  return Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
}

// ----- Start -----

function start() {
  try {
    network = new Network(bytesOf(byId("network").textContent));
    const fits = network.inputShape.join() === facts.shape.join();
    if (!fits || network.classCount !== facts.classes.length) {
      throw new ModelError("It takes other pictures, or has other classes, than the page says.");
    }
    const blank = new Uint8Array(HEIGHT * WIDTH * CHANNELS);
    state.last = { ...answerTo(blank), probabilities: null };
    answerTo(blank); // the first pass compiles; only this one's time counts
    state.times.shift();
  } catch (error) {
    byId("alert").textContent =
      `The network inside this page cannot be run. ${error.message} ` +
      "The file may be damaged: get it again, or make it again with “convnetlab edge”.";
    byId("alert").hidden = false;
    return;
  }
  byId("lab").hidden = false;
  document.body.classList.toggle("photos", !isDrawn);
  introduce();
  makeBars();
  makeGlance();
  makeLayers();
  makeExamples();
  listFacts();
  listSources();
  listen();
  new ResizeObserver(() => {
    drawSheet();
    drawLayers();
  }).observe(document.body);
  look(true);
}

function introduce() {
  byId("lead").textContent = isDrawn
    ? "A neural network inside this page reads it while you draw."
    : "A neural network inside this page says what is in it.";
  byId("paper").style.aspectRatio = isDrawn ? `${WIDTH} / ${HEIGHT}` : "1";
  const { painted } = facts;
  if (!painted) return;
  byId("measured").textContent =
    `Measured on ${grouped(painted.images)} test pictures, painted on a large sheet at any size and place: ` +
    `${percent(painted.normalised)} are read rightly with these steps, ${percent(painted.naive)} without.`;
}

// ----- The network's turn -----

/** Send pixels through the network, and keep the time. The picture is shown as the first layer. */
function answerTo(pixels) {
  const before = performance.now();
  const { probabilities, layers } = network.run(pixels);
  state.times = [...state.times, performance.now() - before].slice(-25);
  const values = Float32Array.from(pixels);
  const input = { kind: "INPUT", title: "the picture", shape: facts.shape, values, parameters: 0 };
  return { probabilities, layers: [input, ...layers.filter(({ kind }) => kind !== "QUANTIZE")] };
}

const isSlow = () => median(state.times) > LIVE;

let frame = 0, pause = 0;

/** Look at the sheet again: with the next frame, or, if the network is slow, after the stroke. */
function lookSoon(isFinal) {
  if (isSlow()) {
    clearTimeout(pause);
    if (isFinal) pause = setTimeout(() => look(true), PAUSE);
  } else {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => look(isFinal));
  }
}

/** Take what is on the sheet through all steps and through the network, and show the answer. */
function look(isFinal) {
  const seen = state.given ?? (isDrawn ? seenOnSheet(isFinal) : null);
  if (seen) state.last = answerTo(seen.pixels);
  else state.last = { ...state.last, probabilities: null };
  showTools();
  showBars();
  showVerdict();
  showSteps(seen);
  drawGlance();
  drawLayers();
  showTime();
  speak();
}

function showTools() {
  const isEmpty = state.given === null && state.strokes.length === 0;
  byId("hint").hidden = !isEmpty;
  byId("clear").disabled = isEmpty;
  if (isDrawn) byId("undo").disabled = state.strokes.length === 0;
}

/** What the network gets of the ink on the sheet, with the steps; null of an empty sheet. */
function seenOnSheet(isFinal) {
  const canvas = inkOnSheet();
  const found = normalised(canvas, HEIGHT, WIDTH, facts.drawn);
  if (found === null) return null;
  const without = isFinal || !isSlow() ? naive(canvas, HEIGHT, WIDTH, facts.drawn.isDark) : null;
  return { pixels: found.pixels, steps: stepsOfInk(found, without), text: "" };
}

// ----- The sheet: strokes by mouse, pen, finger or keyboard -----

const scale = Math.max(1, Math.round(SHEET / Math.max(HEIGHT, WIDTH)));
/** The ink that the network gets is read from here; the visible sheet is as sharp as the screen. */
const inkSheet = Object.assign(document.createElement("canvas"), {
  width: WIDTH * scale,
  height: HEIGHT * scale,
});
const inkContext = inkSheet.getContext("2d", { willReadFrequently: true });
const paper = byId("paper");
const paperContext = paper.getContext("2d");

/** How much ink lies on each pixel of the sheet, 0 to 255. */
function inkOnSheet() {
  const { width, height } = inkSheet;
  const colours = inkContext.getImageData(0, 0, width, height).data;
  return { height, width, values: Uint8Array.from({ length: width * height }, (_, k) => colours[4 * k + 3]) };
}

function drawSegment(context, from, to) {
  const { width, height } = context.canvas;
  context.lineWidth = PEN * Math.max(width, height);
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from.x * width, from.y * height);
  context.lineTo(to.x * width, to.y * height);
  context.stroke();
}

function addPoint(point) {
  const stroke = state.strokes.at(-1);
  const before = stroke.at(-1) ?? point;
  stroke.push(point);
  drawSegment(inkContext, before, point);
  drawSegment(paperContext, before, point);
}

function startStroke(point) {
  if (state.given) forgetGiven();
  state.strokes.push([]);
  addPoint(point);
  showTools();
  lookSoon(false);
}

/** Draw the visible sheet anew, as sharp as the screen and in the theme's colour of ink. */
function drawSheet() {
  const width = Math.round(paper.clientWidth * devicePixelRatio);
  const height = Math.round(paper.clientHeight * devicePixelRatio);
  Object.assign(paper, { width, height }); // which clears it
  paperContext.strokeStyle = getComputedStyle(document.body).getPropertyValue("--ink");
  if (state.given) drawInside(paperContext, state.given.preview);
  else replay(paperContext);
}

function replay(context) {
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  for (const stroke of state.strokes) {
    stroke.forEach((point, k) => drawSegment(context, stroke[Math.max(0, k - 1)], point));
  }
}

/** Draw a picture whole into a canvas: large ones smoothly, few pixels as squares. */
function drawInside(context, picture) {
  const { width, height } = context.canvas;
  const scale = Math.min(width / picture.width, height / picture.height);
  const [across, down] = [picture.width * scale, picture.height * scale];
  context.imageSmoothingEnabled = Math.max(picture.width, picture.height) > 128 || scale < 1;
  context.drawImage(picture, (width - across) / 2, (height - down) / 2, across, down);
  return { scale, left: (width - across) / 2, top: (height - down) / 2 };
}

function undo() {
  state.strokes.pop();
  redrawInk();
}

function clearAll() {
  state.strokes = [];
  complain("");
  forgetGiven();
  redrawInk();
}

function redrawInk() {
  lift();
  replay(inkContext);
  drawSheet();
  lookSoon(true);
}

function forgetGiven() {
  state.given = null;
  state.strokes = [];
  replay(inkContext);
  if (!isDrawn) paper.setAttribute("aria-label", "No photograph yet");
  drawSheet();
}

// ----- What the reader does -----

function listen() {
  if (isDrawn) listenToPen();
  if (isDrawn) byId("undo").addEventListener("click", undo);
  byId("clear").addEventListener("click", clearAll);
  const pickers = document.querySelectorAll("input[type=file]");
  pickers.forEach((picker) => picker.addEventListener("change", () => {
    takeFile(picker.files[0]);
    picker.value = ""; // so that the same file can be chosen again
  }));
  if (!isDrawn) paper.addEventListener("click", () => pickers[pickers.length - 1].click());
  listenToFiles();
  byId("more-bars").addEventListener("click", () => showMore("bars", makeBars, showBars));
  byId("more-layers").addEventListener("click", () => showMore("layers", makeLayers, drawLayers));
  byId("attempt").addEventListener("click", tryToConnect);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSheet);
}

function listenToPen() {
  let active = null;
  const at = ({ clientX, clientY }) => {
    const { left, top, width, height } = paper.getBoundingClientRect();
    return { x: (clientX - left) / width, y: (clientY - top) / height };
  };
  paper.addEventListener("pointerdown", (event) => {
    if (active !== null || event.button !== 0) return; // a second finger, or a palm, draws nothing
    active = event.pointerId;
    paper.setPointerCapture(active);
    lift();
    byId("pen").hidden = true;
    startStroke(at(event));
  });
  paper.addEventListener("pointermove", (event) => {
    if (event.pointerId !== active) return;
    const events = event.getCoalescedEvents?.() ?? [];
    (events.length ? events : [event]).forEach((each) => addPoint(at(each)));
    lookSoon(false);
  });
  const end = (event) => {
    if (event.pointerId !== active) return;
    active = null;
    lookSoon(true);
  };
  paper.addEventListener("pointerup", end);
  paper.addEventListener("pointercancel", end);
  byId("sheet").addEventListener("keydown", drawByKey);
}

// The pen that the arrow keys move.
const pen = { x: 0.5, y: 0.3, isDown: false };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function drawByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "z" && !event.altKey) undo();
    return;
  }
  const actions = { " ": () => (pen.isDown ? lift(true) : putDown()), Backspace: undo, Delete: clearAll };
  const arrow = ARROWS[event.key];
  if (!arrow && !actions[event.key]) return;
  event.preventDefault(); // the page must not scroll
  if (arrow) movePen(...arrow);
  else actions[event.key]();
  showPen();
}

function movePen(across, down) {
  pen.x = Math.min(1, Math.max(0, pen.x + across * KEY_STEP));
  pen.y = Math.min(1, Math.max(0, pen.y + down * KEY_STEP));
  if (!pen.isDown) return;
  addPoint({ x: pen.x, y: pen.y });
  lookSoon(false);
}

function putDown() {
  pen.isDown = true;
  startStroke({ x: pen.x, y: pen.y });
  say("Pen down.");
}

function lift(isTold = false) {
  if (pen.isDown && isTold) {
    say("Pen up.");
    lookSoon(true);
  }
  pen.isDown = false;
  byId("pen").classList.remove("down");
}

function showPen() {
  const mark = byId("pen");
  mark.hidden = false;
  mark.classList.toggle("down", pen.isDown);
  mark.style.left = `${100 * pen.x}%`;
  mark.style.top = `${100 * pen.y}%`;
}

/** Pictures come by a file picker, by dropping or by pasting. */
function listenToFiles() {
  const mark = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would open the file instead of the page
    mark(true);
  });
  document.addEventListener("dragleave", () => mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    takeFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));
}

async function takeFile(file) {
  if (!file) return;
  complain("");
  byId("sure").textContent = "Reading the picture …";
  try {
    const bitmap = await openPicture(file);
    give(isDrawn ? seenOnPhotographedDrawing(bitmap) : seenOnPhotograph(bitmap));
    if (!isDrawn) paper.setAttribute("aria-label", "Your photograph");
  } catch (error) {
    showVerdict();
    if (!(error instanceof PictureError)) throw error;
    complain(error.message);
  }
}

function complain(message) {
  byId("complaint").textContent = message;
  byId("complaint").hidden = !message;
}

/** Show a picture on the sheet instead of strokes, and look at it. */
function give(given) {
  forgetGiven();
  state.given = given;
  drawSheet();
  requestAnimationFrame(() => look(true)); // the sheet is shown first, if the network is slow
}

function seenOnPhotograph(bitmap) {
  const picture = framed(bitmap, HEIGHT, facts.fit, CHANNELS);
  const preview = smallCopy(bitmap);
  return { preview, pixels: picture.values, steps: stepsOfPhotograph(preview, bitmap, picture), text: "" };
}

function seenOnPhotographedDrawing(bitmap) {
  const found = asDrawing(greyPicture(bitmap), HEIGHT, WIDTH, facts.drawn);
  return { preview: smallCopy(bitmap), pixels: found.pixels, steps: stepsOfPhotographedInk(found), text: "" };
}

function smallCopy(bitmap) {
  const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
  const copy = make("canvas");
  copy.width = Math.max(1, Math.round(bitmap.width * scale));
  copy.height = Math.max(1, Math.round(bitmap.height * scale));
  copy.getContext("2d").drawImage(bitmap, 0, 0, copy.width, copy.height);
  return copy;
}

function makeExamples() {
  if (facts.examples.length === 0) return;
  byId("examples").hidden = false;
  for (const { pixels, label } of facts.examples) {
    const values = bytesOf(pixels);
    const preview = asCanvas({ height: HEIGHT, width: WIDTH, channels: CHANNELS, values });
    const name = facts.classes[label];
    const button = make("button", { type: "button", "aria-label": `Test picture, labelled ${name}` }, preview);
    button.addEventListener("click", () => {
      const text = ["A test picture, labelled ", named(name), ": it has the network's size already, and goes in as it is."];
      give({ preview, pixels: values, steps: [], text });
    });
    document.querySelector("#examples ul").append(make("li", {}, button));
  }
}

// ----- The answer -----

function showMore(what, makeThem, showThem) {
  state.showsAll[what] = !state.showsAll[what];
  makeThem();
  showThem();
}

let bars = [];

function makeBars() {
  const { classes } = facts;
  const areShort = classes.every((name) => name.length <= 3);
  document.body.classList.toggle("long-names", !areShort);
  const shown = state.showsAll.bars ? classes.length : Math.min(FIRST.bars, classes.length);
  bars = Array.from({ length: shown }, () => {
    const name = named("");
    const fill = make("div", { className: "fill" });
    const track = make("div", { className: "track", "aria-hidden": "true" }, fill);
    const value = make("span", { className: "value" });
    return { row: make("li", {}, name, track, value), name, fill, value };
  });
  byId("bars").replaceChildren(...bars.map(({ row }) => row));
  const button = byId("more-bars");
  button.hidden = classes.length <= FIRST.bars;
  button.textContent = state.showsAll.bars ? "Show the most probable ones" : `Show all ${classes.length} classes`;
}

function showBars() {
  const { probabilities } = state.last;
  const all = Array.from(facts.classes.keys());
  const order = probabilities ? ranking(probabilities) : all;
  const shown = bars.length === all.length ? all : order.slice(0, bars.length);
  bars.forEach(({ row, name, fill, value }, place) => {
    const index = shown[place];
    const share = probabilities ? probabilities[index] : 0;
    row.classList.toggle("first", probabilities !== null && index === order[0]);
    name.textContent = facts.classes[index];
    fill.style.transform = `scaleX(${share})`;
    value.textContent = probabilities ? percent(share) : "–";
  });
}

function showVerdict() {
  const { probabilities } = state.last;
  const [best, sure] = [byId("best"), byId("sure")];
  if (!probabilities) {
    best.textContent = "";
    sure.textContent = isDrawn ? "Nothing is drawn yet." : "There is no photograph yet.";
    return;
  }
  const [first, second] = ranking(probabilities);
  const name = facts.classes[first];
  best.textContent = name;
  best.classList.toggle("long", name.length > 3);
  sure.textContent = percent(probabilities[first]);
  if (probabilities[first] < 0.5) sure.append(": less than half, so it is unsure");
  if (probabilities[second] > 0) sure.append(". Next: ", named(facts.classes[second]), `, ${percent(probabilities[second])}`);
}

let speech = 0;

/** Tell a screen reader the answer, once it has settled. */
function speak() {
  clearTimeout(speech);
  speech = setTimeout(() => {
    const { probabilities } = state.last;
    if (probabilities) say(`${byId("best").textContent}, ${byId("sure").textContent}`);
  }, SPOKEN_AFTER);
}

function say(text) {
  byId("spoken").textContent = text;
}

// ----- The steps from the sheet to the network -----

const sizeOfPicture = ({ height, width }) => `${width} × ${height} pixels`;

function stepsOfInk(found, without) {
  const ground = facts.drawn.isDark ? "bright on black" : "dark on white";
  const steps = [
    {
      title: "As drawn",
      text: `The sheet has ${sizeOfPicture(found.canvas)}, with the ink ${ground} as in the training pictures. The frame just holds all ink.`,
      picture: found.canvas,
      box: found.box,
    },
    ...commonSteps(found),
  ];
  if (!without) return steps;
  const { probabilities } = answerTo(without);
  const [first] = ranking(probabilities);
  steps.push({
    title: "Without these steps",
    text: ["The whole sheet made smaller. Of this the network says ", make("b", {}, named(facts.classes[first])), ` (${percent(probabilities[first])}).`],
    picture: { height: HEIGHT, width: WIDTH, values: without },
    isApart: true,
    hasGround: true,
  });
  return steps;
}

function commonSteps({ ink, small, middle, page }) {
  return [
    {
      title: "Cut out",
      text: `${sizeOfPicture(ink)} are left. Where on the sheet you draw does not matter any more.`,
      picture: ink,
    },
    {
      title: "Scaled",
      text: `To ${sizeOfPicture(small)}: each is the mean of what it covers. Large or small does not matter any more.`,
      picture: small,
    },
    {
      title: "Centred",
      text: `Put into ${sizeOfPicture(page)} by its centre of mass: the cross, where the ink would balance.`,
      picture: page,
      cross: middle,
    },
  ];
}

function stepsOfPhotographedInk(found) {
  const photograph = {
    title: "In grey",
    text: `${sizeOfPicture(found.seen)}${found.isInverted ? ", and turned into its negative, since the training pictures have the other ground" : ""}.`,
    picture: found.seen,
    hasGround: true,
  };
  if (found.kind === "as it is") {
    return [{ ...photograph, text: "It has the network's size already, so it goes in as it is." }];
  }
  if (found.kind === "no ink") {
    const text = "No ink was found that stands out from the ground, so the whole picture was made smaller.";
    const picture = { height: HEIGHT, width: WIDTH, values: found.pixels };
    return [photograph, { title: "Scaled", text, picture, hasGround: true }];
  }
  const text = "What differs clearly from the ground, found by a threshold (Otsu's method). The frame just holds all of it.";
  return [photograph, { title: "Ink found", text, picture: found.canvas, box: found.box }, ...commonSteps(found)];
}

const FIT_TEXTS = {
  pad: "The whole picture, in its own shape, between black bars.",
  crop: "The middle of the picture: what is longer than a square is cut off.",
  stretch: "The whole picture, pressed into a square.",
};

function stepsOfPhotograph(preview, { width, height }, picture) {
  const colour = CHANNELS === 1 ? " In grey, since the network has learnt from grey pictures." : "";
  return [
    { title: "As photographed", text: `${sizeOfPicture({ width, height })}, turned upright.`, canvas: preview },
    {
      title: "As the network gets it",
      text: `${sizeOfPicture(picture)}, each the mean of what it covers. ${FIT_TEXTS[facts.fit]}${colour}`,
      picture,
      hasGround: true,
    },
  ];
}

let stepTitles = null, stepPlaces = [];

function showSteps(seen) {
  const steps = seen?.steps ?? [];
  const nothing = isDrawn
    ? "Draw something: here you will see, step by step, how your drawing becomes like those that the network has learnt from."
    : "Choose a photograph: here you will see what is left of it when the network gets it.";
  const usual = isDrawn
    ? "The network knows only small pictures whose ink was cut out, scaled and centred. So the same is done to yours."
    : "The network takes small pictures of one size. So the photograph is made like those that it has learnt from.";
  byId("received-text").replaceChildren(...(!seen ? [nothing] : seen.text || [usual]));
  byId("measured").hidden = !facts.painted || !seen || state.given !== null;
  const titles = steps.map(({ title }) => title).join("|");
  if (titles !== stepTitles) makeSteps(steps);
  stepTitles = titles;
  steps.forEach((step, place) => showStep(step, stepPlaces[place]));
}

function makeSteps(steps) {
  stepPlaces = steps.map(({ title, isApart }) => {
    const canvas = make("canvas", { width: 224, height: 224, role: "img", "aria-label": `${title}, a picture` });
    const text = make("p");
    const row = make("li", { className: isApart ? "apart" : "" }, canvas, make("h3", {}, title), text);
    return { row, canvas, text };
  });
  byId("steps").replaceChildren(...stepPlaces.map(({ row }) => row));
}

function showStep({ picture, canvas, text, box, cross, hasGround }, place) {
  place.text.replaceChildren(...[text].flat());
  const context = place.canvas.getContext("2d");
  context.clearRect(0, 0, place.canvas.width, place.canvas.height);
  const shown = picture && !hasGround && !facts.drawn.isDark ? { ...picture, values: onGround(picture.values, false) } : picture;
  const { scale, left, top } = drawInside(context, canvas ?? asCanvas(shown));
  context.strokeStyle = "#e69f00";
  context.lineWidth = 3;
  if (box) {
    const [across, down] = [box.right - box.left, box.bottom - box.top];
    context.strokeRect(left + box.left * scale, top + box.top * scale, across * scale, down * scale);
  }
  if (cross) drawCross(context, left + cross.column * scale, top + cross.row * scale);
}

function drawCross(context, x, y) {
  context.beginPath();
  context.moveTo(x - 16, y);
  context.lineTo(x + 16, y);
  context.moveTo(x, y - 16);
  context.lineTo(x, y + 16);
  context.stroke();
}

/** A canvas with one pixel for each of a picture, grey (1 channel) or in colour (3). */
function asCanvas({ height, width, channels = 1, values }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = values[pixel * channels + (channels === 3 ? channel : 0)];
    }
    image.data[4 * pixel + 3] = 255;
  }
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// ----- The layers -----

// Colours of -1 (pale blue) over 0 (nearly black) to 1 (pale amber).
const GLOW = Array.from({ length: 511 }, (_, k) => {
  const strength = Math.abs(k - 255) / 255;
  const [middle, end] = k < 255 ? [[64, 150, 214], [226, 243, 255]] : [[230, 159, 0], [255, 246, 220]];
  return [13, 18, 25].map((dark, channel) => strength < 0.6
    ? dark + (middle[channel] - dark) * (strength / 0.6)
    : middle[channel] + (end[channel] - middle[channel]) * ((strength - 0.6) / 0.4)).concat(255);
});

let layerPlaces = [];
const visibility = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const place = layerPlaces.find(({ frame }) => frame === target);
    if (!place) continue;
    place.isVisible = isIntersecting;
    if (isIntersecting) drawLayer(place, state.last.layers[place.index]);
  }
}, { rootMargin: "200px" });

function makeLayers() {
  visibility.disconnect();
  const { layers } = state.last;
  const shown = state.showsAll.layers ? layers : layers.slice(0, FIRST.layers);
  layerPlaces = shown.map((layer, index) => {
    const canvas = make("canvas", { role: "img", "aria-label": `What ${layer.title} gives` });
    const frame = make("div", { className: "maps" }, canvas);
    frame.hidden = layer.kind === "RESHAPE"; // the same numbers once more
    const words = make("div", {}, make("h3", {}, layer.title), make("p", {}, shapeInWords(layer)));
    return { index, canvas, frame, row: make("li", {}, words, frame), isVisible: false };
  });
  byId("layers").replaceChildren(...layerPlaces.map(({ row }) => row));
  layerPlaces.forEach(({ frame }) => visibility.observe(frame));
  const button = byId("more-layers");
  button.hidden = layers.length <= FIRST.layers;
  button.textContent = state.showsAll.layers ? `Show the first ${FIRST.layers} layers` : `Show all ${layers.length} layers`;
}

function shapeInWords(layer) {
  const { shape, parameters } = layer;
  const { count, shown, isFlat } = arrangement(layer);
  const output = isFlat ? `${grouped(count)} numbers` : `${shape[0]} × ${shape[1]} × ${count}`;
  const some = layer.kind !== "RESHAPE" && shown < count ? ` (the first ${grouped(shown)} are shown)` : "";
  return `Gives ${output}${some}` + (parameters ? `; ${grouped(parameters)} parameters` : "");
}

/** How a layer's output is laid out: maps of height × width, or single numbers. */
function arrangement({ shape }) {
  const [height, width, count] = shape.length === 3 ? shape : [1, 1, shape.reduce((a, b) => a * b, 1)];
  const isFlat = height * width === 1;
  return { height, width, count, isFlat, shown: Math.min(count, isFlat ? FIRST.units : FIRST.maps) };
}

function drawLayers() {
  layerPlaces.filter(({ isVisible }) => isVisible).forEach((place) => drawLayer(place, state.last.layers[place.index]));
}

function drawLayer({ canvas, frame }, layer) {
  const { isFlat, shown } = arrangement(layer);
  const tile = isFlat ? (shown > 64 ? 14 : 28) : shown <= 8 ? 72 : 42; // on the screen, about
  const room = Math.max(tile, frame.clientWidth - 14);
  const rows = Math.ceil(shown / Math.min(shown, Math.floor(room / tile)));
  const columns = Math.ceil(shown / rows);
  paintLayer(canvas, layer, shown, columns);
  canvas.style.width = `${columns * Math.min(room / columns, 1.25 * tile)}px`;
}

/** Paint the first maps (or numbers) of a layer into a canvas, a pixel for each place of a map. */
function paintLayer(canvas, layer, shown, columns) {
  const { height, width, count, isFlat } = arrangement(layer);
  const gap = isFlat ? 0 : 1;
  const rows = Math.ceil(shown / columns);
  const image = new ImageData(columns * (width + gap) - gap, rows * (height + gap) - gap);
  const most = strongest(layer.values);
  for (let channel = 0; state.last.probabilities && channel < shown; channel++) {
    const left = (channel % columns) * (width + gap);
    const top = Math.floor(channel / columns) * (height + gap);
    for (let place = 0; place < height * width; place++) {
      const strength = layer.values[place * count + channel] / most;
      const row = top + Math.floor(place / width), column = left + (place % width);
      image.data.set(GLOW[Math.round(255 * strength) + 255], 4 * (row * image.width + column));
    }
  }
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A few layers, small and beside the answer, so that one sees them light up while one draws.
let glances = [];

function makeGlance() {
  const numbered = state.last.layers.map((layer, index) => ({ index, layer }));
  const worth = numbered.filter(({ layer }) => layer.kind !== "RESHAPE");
  const step = (worth.length - 1) / (Math.min(FIRST.glances, worth.length) - 1);
  const chosen = Array.from({ length: Math.min(FIRST.glances, worth.length) }, (_, k) => worth[Math.round(k * step)]);
  glances = chosen.map(({ index, layer }) => ({ index, canvas: make("canvas", { title: layer.title }) }));
  byId("glance").replaceChildren(...glances.map(({ canvas }) => make("li", {}, canvas)));
}

function drawGlance() {
  for (const { index, canvas } of glances) {
    const layer = state.last.layers[index];
    const { isFlat, count } = arrangement(layer);
    const shown = Math.min(count, isFlat ? 100 : 16);
    paintLayer(canvas, layer, shown, Math.ceil(Math.sqrt(shown)));
  }
}

function strongest(values) {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
}

// ----- What stands in the lower part of the page -----

function listFacts() {
  const kinds = {
    int8: "int8: weights, and all that is computed with them, are whole numbers of eight bits",
    float32: "float32: as they were trained",
  };
  const parameters = state.last.layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const size = bytesOf(byId("network").textContent).length;
  const rows = {
    "Run": [named(facts.title)],
    "Learnt from": [named(facts.source)],
    "On test pictures": [`${percent(facts.accuracy, 2)} of ${grouped(facts.testImages)} are read rightly`],
    "Network": [`${grouped(parameters)} parameters, ${grouped(size)} bytes`],
    "Numbers": [kinds[facts.variant] ?? facts.variant],
    "One pass": [make("span", { id: "time" })],
    "Made with": [Object.entries(facts.madeWith).map(([name, version]) => `${name} ${version}`).join(", ")],
  };
  byId("facts-list").replaceChildren(
    ...Object.entries(rows).flatMap(([term, told]) => [make("dt", {}, term), make("dd", {}, ...told)]),
  );
}

function showTime() {
  const time = median(state.times);
  byId("time").textContent = `${time < 0.1 ? "less than 0.1" : time.toFixed(1)} ms on this device (the median of the last passes)`;
}

/** The page's own code, as it runs, in the files that it was put together from. */
function listSources() {
  const parts = byId("code").textContent.split(/^\/\/ ===== (.+) =====\n/m).slice(1);
  for (let place = 0; place < parts.length; place += 2) {
    const code = make("pre", { tabindex: "0", "aria-label": parts[place] }, parts[place + 1]);
    byId("sources").append(make("details", {}, make("summary", {}, parts[place]), code));
  }
  const rules = document.querySelector("meta[http-equiv]").content.split("; ");
  byId("policy").textContent = rules.join("\n");
}

/** Ask for an address that nobody has (.invalid), to show that the policy stops it. */
async function tryToConnect() {
  let stopped = null;
  const notice = (event) => (stopped = event.effectiveDirective);
  document.addEventListener("securitypolicyviolation", notice);
  let told;
  try {
    await fetch("https://nowhere.invalid/");
    told = "It got through: this browser does not enforce the policy.";
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50)); // the notice comes a little later
    told = stopped
      ? `Stopped by the policy (${stopped}): nothing was sent.`
      : "It failed, but not by the policy: this browser may not enforce it.";
  }
  document.removeEventListener("securitypolicyviolation", notice);
  byId("attempted").textContent = told;
}

start();
