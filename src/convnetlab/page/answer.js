// The answer, and the steps that led from the sheet to the network.

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
  button.textContent = state.showsAll.bars
    ? "Show the most probable ones"
    : `Show all ${classes.length} classes`;
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
  if (probabilities[first] < 0.5) sure.append(" (less than half, so it is unsure)");
  if (probabilities[second] > 0)
    sure.append(", then ", named(facts.classes[second]), ` with ${percent(probabilities[second])}`);
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
  clearTimeout(speech); // an older answer would be wrong after this
  byId("spoken").textContent = text;
}

// ----- The steps from the sheet to the network -----

const sizeOfPicture = ({ height, width }) => `${width} × ${height} pixels`;

function stepsOfInk(found, without) {
  const ground = facts.drawn.isDark ? "bright on black" : "dark on white";
  const steps = [
    {
      title: "As drawn",
      text:
        `The sheet has ${sizeOfPicture(found.canvas)}, with the ink ${ground} as in the training ` +
        "pictures. The frame just holds all ink.",
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
    text: [
      "The whole sheet made smaller. Of this the network says ",
      make("b", {}, named(facts.classes[first])),
      ` (${percent(probabilities[first])}).`,
    ],
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
      text:
        `To ${sizeOfPicture(small)}: each is the mean of what it covers. Large or small does not ` +
        "matter any more.",
      picture: small,
    },
    {
      title: "Centred",
      text:
        `Put into ${sizeOfPicture(page)} by its centre of mass: the cross, where the ink would ` +
        "balance.",
      picture: page,
      cross: middle,
    },
  ];
}

function stepsOfPhotographedInk(found) {
  const photograph = {
    title: "In grey",
    text:
      sizeOfPicture(found.seen) +
      (found.isInverted
        ? ", and turned into its negative, since the training pictures have the other ground."
        : "."),
    picture: found.seen,
    hasGround: true,
  };
  if (found.kind === "as it is") {
    return [{ ...photograph, text: "It has the network's size already, so it goes in as it is." }];
  }
  if (found.kind === "no ink") {
    const text =
      "No ink was found that stands out from the ground, so the whole picture was made smaller.";
    const picture = { height: HEIGHT, width: WIDTH, values: found.pixels };
    return [photograph, { title: "Scaled", text, picture, hasGround: true }];
  }
  const text =
    "What differs clearly from the ground, found by a threshold (Otsu's method). The frame just " +
    "holds all of it.";
  return [
    photograph,
    { title: "Ink found", text, picture: found.canvas, box: found.box },
    ...commonSteps(found),
  ];
}

const FIT_TEXTS = {
  pad: "The whole picture, in its own shape, between black bars.",
  crop: "The middle of the picture: what is longer than a square is cut off.",
  stretch: "The whole picture, pressed into a square.",
};

function stepsOfPhotograph(preview, { width, height }, picture) {
  const colour = CHANNELS === 1 ? " In grey, since the network has learnt from grey pictures." : "";
  return [
    {
      title: "As photographed",
      text: `${sizeOfPicture({ width, height })}, as this browser opens it.`,
      canvas: preview,
    },
    {
      title: "As the network gets it",
      text:
        `${sizeOfPicture(picture)}, each the mean of what it covers. ` +
        FIT_TEXTS[facts.fit] +
        colour,
      picture,
      hasGround: true,
    },
  ];
}

let stepTitles = null,
  stepPlaces = [];

function showSteps(seen) {
  const steps = seen?.steps ?? [];
  const nothing = isDrawn
    ? "Draw something: here you will see, step by step, how your drawing becomes like those that " +
      "the network has learnt from."
    : "Choose a photograph: here you will see what is left of it when the network gets it.";
  const usual = isDrawn
    ? "The network knows only small pictures whose ink was cut out, scaled and centred. So the " +
      "same is done to yours."
    : "The network takes small pictures of one size. So the photograph is made like those that " +
      "it has learnt from.";
  byId("received-text").replaceChildren(...(!seen ? [nothing] : seen.text || [usual]));
  byId("measured").hidden = !facts.painted || !seen || state.given !== null;
  const titles = steps.map(({ title }) => title).join("|");
  if (titles !== stepTitles) makeSteps(steps);
  stepTitles = titles;
  steps.forEach((step, place) => showStep(step, stepPlaces[place]));
}

function makeSteps(steps) {
  stepPlaces = steps.map(({ title, isApart }) => {
    const canvas = make("canvas", {
      width: 224,
      height: 224,
      role: "img",
      "aria-label": `${title}, a picture`,
    });
    const text = make("p");
    const row = make(
      "li",
      { className: isApart ? "apart" : "" },
      canvas,
      make("h3", {}, title),
      text,
    );
    return { row, canvas, text };
  });
  byId("steps").replaceChildren(...stepPlaces.map(({ row }) => row));
}

function showStep({ picture, canvas, text, box, cross, hasGround }, place) {
  place.text.replaceChildren(...[text].flat());
  const context = place.canvas.getContext("2d");
  context.clearRect(0, 0, place.canvas.width, place.canvas.height);
  const shown =
    picture && !hasGround && !facts.drawn.isDark
      ? { ...picture, values: onGround(picture.values, false) }
      : picture;
  const { scale, left, top } = drawInside(context, canvas ?? asCanvas(shown));
  context.strokeStyle = "#e69f00";
  context.lineWidth = 3;
  if (box) {
    const [across, down] = [box.right - box.left, box.bottom - box.top];
    context.strokeRect(
      left + box.left * scale,
      top + box.top * scale,
      across * scale,
      down * scale,
    );
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
