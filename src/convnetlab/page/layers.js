// The layers of the network, as they light up.

// Colours of -1 (pale blue) over 0 (nearly black) to 1 (pale amber).
const GLOW = Array.from({ length: 511 }, (_, k) => {
  const strength = Math.abs(k - 255) / 255;
  const [middle, end] =
    k < 255
      ? [
          [64, 150, 214],
          [226, 243, 255],
        ]
      : [
          [230, 159, 0],
          [255, 246, 220],
        ];
  return [13, 18, 25]
    .map((dark, channel) =>
      strength < 0.6
        ? dark + (middle[channel] - dark) * (strength / 0.6)
        : middle[channel] + (end[channel] - middle[channel]) * ((strength - 0.6) / 0.4),
    )
    .concat(255);
});

let layerPlaces = [];
const visibility = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const place = layerPlaces.find(({ frame }) => frame === target);
      if (!place) continue;
      place.isVisible = isIntersecting;
      if (isIntersecting) drawLayer(place, state.last.layers[place.index]);
    }
  },
  { rootMargin: "200px" },
);

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
  button.textContent = state.showsAll.layers
    ? `Show the first ${FIRST.layers} layers`
    : `Show all ${layers.length} layers`;
}

function shapeInWords(layer) {
  const { shape, parameters } = layer;
  const { count, shown, isFlat } = arrangement(layer);
  const output = isFlat ? `${grouped(count)} numbers` : `${shape[0]} × ${shape[1]} × ${count}`;
  const some =
    layer.kind !== "RESHAPE" && shown < count ? ` (the first ${grouped(shown)} are shown)` : "";
  return `Gives ${output}${some}` + (parameters ? `; ${grouped(parameters)} parameters` : "");
}

/** How a layer's output is laid out: maps of height × width, or single numbers. */
function arrangement({ shape }) {
  const [height, width, count] =
    shape.length === 3 ? shape : [1, 1, shape.reduce((a, b) => a * b, 1)];
  const isFlat = height * width === 1;
  return {
    height,
    width,
    count,
    isFlat,
    shown: Math.min(count, isFlat ? FIRST.units : FIRST.maps),
  };
}

function drawLayers() {
  layerPlaces
    .filter(({ isVisible }) => isVisible)
    .forEach((place) => drawLayer(place, state.last.layers[place.index]));
}

function drawLayer({ canvas, frame }, layer) {
  const { isFlat, shown } = arrangement(layer);
  const tile = isFlat ? (shown > 16 ? 14 : 28) : shown <= 8 ? 72 : 42; // on the screen, about
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
      const row = top + Math.floor(place / width),
        column = left + (place % width);
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
  const chosen = Array.from(
    { length: Math.min(FIRST.glances, worth.length) },
    (_, k) => worth[Math.round(k * step)],
  );
  glances = chosen.map(({ index, layer }) => ({
    index,
    canvas: make("canvas", { title: layer.title }),
  }));
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
