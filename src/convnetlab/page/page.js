// The page: what is drawn or photographed goes through the network, and what comes out is shown.

function start() {
  try {
    readFacts();
    network = new Network(networkFile());
    checkNetwork();
    const blank = new Uint8Array(HEIGHT * WIDTH * CHANNELS);
    state.last = { ...answerTo(blank), probabilities: null };
    answerTo(blank); // the first pass compiles; only this one's time counts
    state.times.shift();
  } catch (error) {
    byId("alert").textContent =
      `The network inside this page cannot be run. ${error.message} ` +
      "The file may be damaged: get it again, or make it again with “convnetlab edge”.";
    byId("alert").hidden = false;
    byId("unstarted").hidden = true;
    return;
  }
  byId("lab").hidden = false;
  document.body.classList.toggle("photos", !isDrawn);
  sizeInkSheet();
  introduce();
  makeBars();
  makeGlance();
  makeLayers();
  makeExamples();
  listFacts();
  listSources();
  listen();
  let width = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return; // only the height has changed
    width = document.body.clientWidth;
    drawSheet();
    drawLayers();
  }).observe(document.body);
  look(true);
  byId("unstarted").hidden = true;
}

/** The bytes of the network inside, if they are those that were put there. */
function networkFile() {
  let file;
  try {
    file = bytesOf(byId("network").textContent);
  } catch {
    throw new ModelError("Its text is not base64.");
  }
  const { bytes, checksum } = facts.network;
  if (file.length !== bytes) {
    throw new ModelError(`It has ${grouped(file.length)} bytes, not ${grouped(bytes)}.`);
  }
  if (checksumOf(file) !== checksum) {
    throw new ModelError("Its bytes are not those that were put there: the checksum differs.");
  }
  return file;
}

/** Refuse a network that is sound, but another one than the page says. */
function checkNetwork() {
  const fits = network.inputShape.join() === facts.shape.join();
  if (!fits || network.classCount !== facts.classes.length) {
    throw new ModelError("It takes other pictures, or has other classes, than the page says.");
  }
  if (network.isQuantised !== (facts.variant === "int8")) {
    throw new ModelError(`Its numbers are not ${facts.variant}, as the page says.`);
  }
}

function introduce() {
  byId("lead").textContent = isDrawn
    ? "A neural network inside this page reads it while you draw."
    : "A neural network inside this page says what is in it.";
  byId("paper").style.aspectRatio = isDrawn ? `${WIDTH} / ${HEIGHT}` : "1";
  const { painted } = facts;
  if (!painted) return;
  byId("measured").textContent =
    `Measured on ${grouped(painted.images)} test pictures, painted on a large sheet at any size ` +
    `and place: ${percent(painted.normalised)} are read rightly with these steps, ` +
    `${percent(painted.naive)} without.`;
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

let frame = 0,
  pause = 0;

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

// ----- What stands in the lower part of the page -----

function listFacts() {
  const kinds = {
    int8:
      "int8: weights, and all that is computed with them, are whole numbers of eight bits. " +
      "Answers come in steps of 1/256",
    float32: "float32: as they were trained",
  };
  const parameters = state.last.layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const rows = {
    Run: [named(facts.title)],
    "Learnt from": [named(facts.source)],
    "On test pictures": [
      facts.accuracy === null
        ? "not judged: LiteRT's interpreter was not installed where this page was made"
        : `${percent(facts.accuracy, 2)} of ${grouped(facts.testImages)} are read rightly`,
    ],
    Network: [`${grouped(parameters)} parameters, ${grouped(facts.network.bytes)} bytes`],
    Numbers: [kinds[facts.variant] ?? facts.variant],
    "One pass": [make("span", { id: "time" })],
    "Made with": [
      Object.entries(facts.madeWith)
        .map(([name, version]) => `${name} ${version}`)
        .join(", "),
    ],
  };
  byId("facts-list").replaceChildren(
    ...Object.entries(rows).flatMap(([term, told]) => [
      make("dt", {}, term),
      make("dd", {}, ...told),
    ]),
  );
}

function showTime() {
  const time = median(state.times);
  byId("time").textContent =
    `${time < 0.1 ? "less than 0.1" : time.toFixed(1)} ms on this device ` +
    "(the median of the last passes)";
}

/** The page's own code, as it runs, in the files that it was put together from. */
function listSources() {
  const parts = byId("code")
    .textContent.split(/^\/\/ ===== (.+) =====\n/m)
    .slice(1);
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
