// The sheet: strokes by mouse, pen, finger or keyboard, photographs, and test pictures.

/** The ink that the network gets is read from here; the visible sheet is as sharp as the screen. */
const inkSheet = document.createElement("canvas");
const inkContext = inkSheet.getContext("2d", { willReadFrequently: true });
const paper = byId("paper");
const paperContext = paper.getContext("2d");

/** Give the sheet for the network's ink whole pixels for each of the network's. */
function sizeInkSheet() {
  const scale = Math.max(1, Math.round(SHEET / Math.max(HEIGHT, WIDTH)));
  Object.assign(inkSheet, { width: WIDTH * scale, height: HEIGHT * scale });
}

/** How much ink lies on each pixel of the sheet, 0 to 255. */
function inkOnSheet() {
  const { width, height } = inkSheet;
  const colours = inkContext.getImageData(0, 0, width, height).data;
  return {
    height,
    width,
    values: Uint8Array.from({ length: width * height }, (_, k) => colours[4 * k + 3]),
  };
}

/** Draw from one point to another; a dot, which starts a stroke, if they are the same. */
function drawSegment(context, from, to) {
  const { width, height } = context.canvas;
  context.lineWidth = PEN * Math.max(width, height);
  context.lineCap = "round";
  context.fillStyle = context.strokeStyle;
  context.beginPath();
  if (from.x === to.x && from.y === to.y) {
    // A line of no length would leave nothing, not even its round ends.
    context.arc(to.x * width, to.y * height, context.lineWidth / 2, 0, 2 * Math.PI);
    context.fill();
  } else {
    context.moveTo(from.x * width, from.y * height);
    context.lineTo(to.x * width, to.y * height);
    context.stroke();
  }
}

function addPoint(point) {
  const stroke = state.strokes.at(-1);
  const before = stroke.at(-1) ?? point;
  stroke.push(point);
  drawSegment(inkContext, before, point);
  drawSegment(paperContext, before, point);
}

function startStroke(point) {
  lastRequest++; // a picture that is still being read comes too late
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
  if (!state.strokes.pop()) return;
  if (state.strokes.length === 0) say("Cleared.");
  redrawInk();
}

function clearAll() {
  complain("");
  forgetGiven();
  redrawInk();
  say("Cleared.");
}

function redrawInk() {
  endStroke();
  replay(inkContext);
  drawSheet();
  lookSoon(true);
}

function forgetGiven() {
  lastRequest++;
  endStroke();
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
  pickers.forEach((picker) =>
    picker.addEventListener("change", () => {
      takeFile(picker.files[0]);
      picker.value = ""; // so that the same file can be chosen again
    }),
  );
  if (!isDrawn) paper.addEventListener("click", () => pickers[pickers.length - 1].click());
  listenToFiles();
  byId("more-bars").addEventListener("click", () => showMore("bars", makeBars, showBars));
  byId("more-layers").addEventListener("click", () => showMore("layers", makeLayers, drawLayers));
  byId("attempt").addEventListener("click", tryToConnect);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSheet);
}

let activePointer = null; // the mouse, pen or finger that draws

function endStroke() {
  activePointer = null;
  lift();
}

function listenToPen() {
  const at = ({ clientX, clientY }) => {
    const { left, top, width, height } = paper.getBoundingClientRect();
    return { x: (clientX - left) / width, y: (clientY - top) / height };
  };
  paper.addEventListener("pointerdown", (event) => {
    // A second finger, or a palm, draws nothing.
    if (activePointer !== null || event.button !== 0) return;
    paper.setPointerCapture(event.pointerId);
    lift();
    byId("pen").hidden = true;
    startStroke(at(event));
    activePointer = event.pointerId;
  });
  paper.addEventListener("pointermove", (event) => {
    if (event.pointerId !== activePointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    (events.length ? events : [event]).forEach((each) => addPoint(at(each)));
    lookSoon(false);
  });
  const end = (event) => {
    if (event.pointerId !== activePointer) return;
    activePointer = null;
    lookSoon(true);
  };
  paper.addEventListener("pointerup", end);
  paper.addEventListener("pointercancel", end);
  byId("sheet").addEventListener("keydown", drawByKey);
  byId("sheet").addEventListener("blur", () => lift(true));
}

// The pen that the arrow keys move.
const pen = { x: 0.5, y: 0.3, isDown: false };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function drawByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "z" && !event.altKey) undo();
    return;
  }
  const actions = {
    " ": () => (pen.isDown ? lift(true) : putDown()),
    Backspace: undo,
    Delete: clearAll,
  };
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
  startStroke({ x: pen.x, y: pen.y });
  pen.isDown = true;
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

let lastRequest = 0; // for a picture, or for a sheet without one

/** Read a picture and show it, unless the reader has asked for something else meanwhile. */
async function takeFile(file) {
  if (!file) return;
  const request = ++lastRequest;
  complain("");
  byId("sure").textContent = "Reading the picture …";
  try {
    const bitmap = await openPicture(file);
    if (request !== lastRequest) return;
    give(isDrawn ? seenOnPhotographedDrawing(bitmap) : seenOnPhotograph(bitmap));
    if (!isDrawn) paper.setAttribute("aria-label", "Your photograph");
  } catch (error) {
    if (request !== lastRequest) return;
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
  return {
    preview,
    pixels: picture.values,
    steps: stepsOfPhotograph(preview, bitmap, picture),
    text: "",
  };
}

function seenOnPhotographedDrawing(bitmap) {
  const found = asDrawing(greyPicture(bitmap), HEIGHT, WIDTH, facts.drawn);
  return {
    preview: smallCopy(bitmap),
    pixels: found.pixels,
    steps: stepsOfPhotographedInk(found),
    text: "",
  };
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
    const button = make(
      "button",
      { type: "button", "aria-label": `Test picture, labelled ${name}` },
      preview,
    );
    button.addEventListener("click", () => {
      const text = [
        "A test picture, labelled ",
        named(name),
        ": it has the network's size already, and goes in as it is.",
      ];
      give({ preview, pixels: values, steps: [], text });
    });
    document.querySelector("#examples ul").append(make("li", {}, button));
  }
}
