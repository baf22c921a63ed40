// A network that is ready to run: its operators in order, each with room for what it computes.
//
// A file from elsewhere may say anything. So whatever a pass relies on is looked at before the
// first one: which operators, which numbers, and that every shape follows from those before it.

"use strict";

const ACTIVATIONS = { 0: "", 1: "ReLU", 3: "ReLU6" }; // by their numbers in the schema
const RANGES = { float32: [-Infinity, Infinity], int8: [-128, 127], uint8: [0, 255] };
const MOST_VALUES = 50_000_000; // that a network may compute: 200 MB
const WIDEST_MARGIN = 32; // by how much a window may be larger than its picture

// The table of what can be run. `run` computes a step's output; `ranks` are how many axes its first
// inputs have (0: any number); `shape` follows from its inputs what its output's shape must be;
// `title` is for people; `trained`: its constants were learnt.
const OPERATORS = {
  CONV_2D: {
    run: convolve,
    ranks: [4, 4],
    shape: convolvedShape,
    title: convolutionTitle,
    trained: true,
  },
  DEPTHWISE_CONV_2D: {
    run: convolveDepthwise,
    ranks: [4, 4],
    shape: convolvedDepthwiseShape,
    title: depthwiseTitle,
    trained: true,
  },
  FULLY_CONNECTED: {
    run: connect,
    ranks: [0, 2],
    shape: connectedShape,
    title: denseTitle,
    trained: true,
  },
  MAX_POOL_2D: { run: poolMaximum, ranks: [4], shape: pooledShape, title: poolingTitle("largest") },
  AVERAGE_POOL_2D: { run: poolMean, ranks: [4], shape: pooledShape, title: poolingTitle("mean") },
  MEAN: { run: average, ranks: [4, 1], shape: averagedShape, title: () => "mean of each map" },
  ADD: {
    run: add,
    ranks: [0, 0],
    shape: elementwiseShape,
    title: elementwiseTitle("plus"),
    trained: true,
  },
  MUL: {
    run: multiply,
    ranks: [0, 0],
    shape: elementwiseShape,
    title: elementwiseTitle("times"),
    trained: true,
  },
  CONCATENATION: { run: join, ranks: [0], shape: joinedShape, title: () => "branches joined" },
  PAD: { run: pad, ranks: [4, 2], shape: paddedShape, title: () => "margin of zeros" },
  RESHAPE: { run: reshape, ranks: [0], shape: reshapedShape, title: () => "the same, reshaped" },
  RELU: { run: rescale, ranks: [0], shape: sameShape, title: () => "ReLU" },
  RELU6: { run: rescale, ranks: [0], shape: sameShape, title: () => "ReLU6" },
  QUANTIZE: { run: rescale, ranks: [0], shape: sameShape, title: quantisationTitle },
  SOFTMAX: { run: softmax, ranks: [0], shape: sameShape, title: () => "softmax" },
};

class Network {
  /**
   * @param {Uint8Array} bytes of a LiteRT file: all float32, or int8 with uint8 at both ends.
   * @throws {ModelError} the file is damaged, or holds what this page cannot run.
   */
  constructor(bytes) {
    const { tensors, inputs, outputs, operators } = readModel(bytes);
    const size = tensors.reduce((sum, { data, shape }) => sum + (data ? 0 : sizeOf(shape)), 0);
    if (size > MOST_VALUES) throw new ModelError("The network is too large for this page.");
    this.tensors = tensors.map(withRoom);
    this.input = this.tensor(inputs[0]);
    this.output = this.tensor(outputs[0]);
    this.known = new Set(this.tensors.filter((tensor) => tensor.data)).add(this.input);
    this.steps = operators.map((operator) => this.prepare(operator));
    this.inputShape = this.input.shape.slice(1);
    this.classCount = this.output.shape[1];
    this.isQuantised = isWhole(this.output);
    const takesPictures = this.input.shape.length === 4 && this.input.shape[0] === 1;
    const answers = this.output.shape.length === 2 && this.known.has(this.output);
    demand(takesPictures && answers, "it leads from no picture to no answer");
    for (const { type } of [this.input, this.output]) {
      if (type !== (this.isQuantised ? "uint8" : "float32")) throw cannotRun(`${type} at an end`);
    }
  }

  /**
   * Recognise a picture: the forward pass.
   *
   * @param {Uint8Array} pixels height · width · channels of them, 0 to 255, as they are.
   * @returns {{probabilities: Float32Array, output, layers}} `output` are the last tensor's own
   *   values, uint8 if the network is quantised. Layers {kind, title, shape, values, parameters}.
   */
  run(pixels) {
    if (pixels.length !== this.input.values.length) throw new RangeError("a picture's size");
    this.input.values.set(pixels);
    for (const step of this.steps) OPERATORS[step.kind].run(step);
    const { values } = this.output;
    return {
      probabilities: meaning(this.output),
      output: this.isQuantised ? Uint8Array.from(values) : values.slice(),
      layers: this.steps.map(describe),
    };
  }

  tensor(index) {
    return this.tensors[index] ?? damaged("a tensor is missing");
  }

  /** Turn an operator into a step: {kind, inputs, output, options, weights, low, high}. */
  prepare({ kind, inputs, outputs, options }) {
    if (!Object.hasOwn(OPERATORS, kind)) throw cannotRun(kind);
    if (!((options.activation ?? 0) in ACTIVATIONS)) throw cannotRun(`an activation of ${kind}`);
    const step = {
      kind,
      options,
      inputs: inputs.filter((index) => index !== -1).map((index) => this.tensor(index)),
      output: this.tensor(outputs[0]),
    };
    const inOrder = step.inputs.every((input) => this.known.has(input));
    demand(inOrder && !this.known.has(step.output), "a layer comes before its input");
    checkTypes(step);
    checkShapes(step);
    this.known.add(step.output);
    return { ...step, ...boundsOf(step), weights: weightsOf(step) };
  }
}

/** Give a tensor its values: those of the file, or room for those to be computed. */
function withRoom(tensor) {
  const { data, type, shape, scales, zeroPoints } = tensor;
  const values = data ? Float32Array.from(data) : new Float32Array(sizeOf(shape));
  return {
    ...tensor,
    // A bias may have more digits than a float32 can tell apart.
    values: data && type === "int32" ? data : values,
    scale: scales[0] ?? 1,
    zeroPoint: zeroPoints[0] ?? 0,
  };
}

/** The weights of a convolution or dense layer, in the order in which they are used. */
function weightsOf({ kind, inputs: [, filters] }) {
  if (kind !== "CONV_2D" && kind !== "FULLY_CONNECTED") return null;
  // The file has all of a filter's weights side by side; we want all filters' weights for a place.
  const [count, length] = [filters.shape[0], filters.values.length / filters.shape[0]];
  return filters.values.map((_, index) => {
    return filters.values[(index % count) * length + Math.floor(index / count)];
  });
}

/** Between which numbers a step's output stays: those of its type, and of its activation. */
function boundsOf({ kind, options, output: { type, scale, zeroPoint } }) {
  const activation = { RELU: "ReLU", RELU6: "ReLU6" }[kind] ?? ACTIVATIONS[options.activation];
  const [least, most] = RANGES[type];
  const six = type === "float32" ? 6 : roundEven(6 / scale) + zeroPoint;
  return {
    low: activation ? Math.max(least, zeroPoint) : least,
    high: activation === "ReLU6" ? Math.min(most, six) : most,
  };
}

/** Describe what a step has computed: {kind, title, shape, values, parameters}. */
function describe(step) {
  const { kind, inputs, output, options } = step;
  const { title, trained } = OPERATORS[kind];
  const activation = ACTIVATIONS[options.activation];
  // A single constant is no parameter: it is the 1/255 that pixels are multiplied by.
  const learnt = inputs.filter(({ data }) => trained && data?.length > 1);
  return {
    kind,
    title: title(step) + (activation ? `, ${activation}` : ""),
    shape: output.shape.slice(1),
    values: meaning(output),
    parameters: learnt.reduce((count, { data }) => count + data.length, 0),
  };
}

/** The numbers that a tensor's values stand for. */
function meaning({ values, scale, zeroPoint }) {
  return values.map((value) => scale * (value - zeroPoint));
}

function convolutionTitle({ inputs: [picture, filters] }) {
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth;
  const inGroups = groups > 1 ? ` in ${groups} groups` : "";
  return `convolution ${height} × ${width}, ${count} filters${inGroups}`;
}

function depthwiseTitle({ inputs: [, filters] }) {
  return `depthwise convolution ${filters.shape[1]} × ${filters.shape[2]}`;
}

function denseTitle({ inputs: [, weights] }) {
  return `dense, ${weights.shape[0]} units`;
}

function poolingTitle(what) {
  return ({ options: { height, width } }) => `${what} of each ${height} × ${width}`;
}

function elementwiseTitle(word) {
  return ({ inputs }) => {
    const constant = inputs.find((input) => input.data);
    if (!constant) return `one layer ${word} another`;
    if (constant.data.length > 1) return `${word} a number for each channel`;
    return `${word} ${Number(meaning(constant)[0].toPrecision(3))}`.replace("-", "−");
  };
}

function quantisationTitle({ inputs: [input], output }) {
  return `${input.type} as ${output.type}`;
}

/** Refuse numbers of a type, or with a scale, that the operators cannot compute with. */
function checkTypes({ kind, inputs, output }) {
  const tensors = [output, ...inputs].filter(({ type }) => type !== "int32");
  const types = new Set(tensors.map(({ type }) => type));
  const alike = types.size === 1 && (types.has("float32") || types.has("int8"));
  const bothWhole = kind === "QUANTIZE" && tensors.every(({ type }) => /^u?int8$/.test(type));
  if (output.type === "int32" || !(alike || bothWhole)) {
    throw cannotRun(`${kind} with ${[...types].join(" and ")}`);
  }
  for (const { scales, zeroPoints } of tensors.filter(isWhole)) {
    // Weights may have a scale for each filter.
    const enough = scales.length === 1 || scales.length === output.shape.at(-1);
    const sound = scales.every((scale) => scale > 0 && scale < Infinity);
    const inside = zeroPoints.every((zero) => zero >= -128 && zero <= 255);
    demand(enough && sound && inside, "a scale is no such number");
  }
}

/** Refuse a step whose output has not the shape that follows from its inputs. */
function checkShapes(step) {
  const { kind, inputs, output } = step;
  const { ranks, shape, trained } = OPERATORS[kind];
  const fits = (rank, index) => index in inputs && [0, inputs[index].shape.length].includes(rank);
  const onePicture = ranks[0] !== 4 || inputs[0]?.shape[0] === 1;
  if (!ranks.every(fits) || !onePicture) throw cannotRun(`${kind} of ${shapesOf(inputs)}`);
  demand(String(output.shape) === String(shape(step)), `the output of ${kind} has another shape`);
  const bias = trained && inputs[2];
  demand(!bias || bias.values.length === output.shape.at(-1), `${kind} lacks biases`);
}

function convolvedShape({ inputs: [picture, filters], options }) {
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth;
  demand(Number.isInteger(groups) && count % groups === 0, "a filter fits no map");
  return [1, ...windowCounts(picture, height, width, options), count];
}

function convolvedDepthwiseShape({ inputs: [picture, filters], options }) {
  const [, height, width, count] = filters.shape;
  demand(count % picture.shape[3] === 0, "a filter fits no map");
  return [1, ...windowCounts(picture, height, width, options), count];
}

function pooledShape({ inputs: [picture], options }) {
  return [1, ...windowCounts(picture, options.height, options.width, options), picture.shape[3]];
}

/** How many windows there are, one below the other and side by side. */
function windowCounts(picture, height, width, options) {
  const { padding, strideX, strideY, dilationX = 1, dilationY = 1 } = options;
  const [, rows, columns] = picture.shape;
  return [
    windowsAlong(rows, height, strideY, dilationY, padding),
    windowsAlong(columns, width, strideX, dilationX, padding),
  ];
}

function windowsAlong(length, size, stride, dilation, padding) {
  const sound = min(size, stride, dilation) > 0 && size <= length + WIDEST_MARGIN;
  demand(sound, "a window has an impossible size");
  return ceil((padding === VALID ? length - (size - 1) * dilation : length) / stride);
}

function connectedShape({ inputs: [input, weights], output }) {
  const [units, length] = weights.shape;
  const places = output.values.length / units;
  const fits = output.shape.at(-1) === units && places * length === input.values.length;
  demand(fits, "a dense layer has another size");
  return output.shape;
}

function averagedShape({ inputs: [picture, axes], options }) {
  if (String(axes.values) !== "1,2") throw cannotRun(`MEAN over the axes ${axes.values}`);
  const channels = picture.shape[3];
  return options.keepDimensions ? [1, 1, 1, channels] : [1, channels];
}

/** One of the two may be a single number, or one for each channel: it is repeated. */
function elementwiseShape({ kind, inputs: [one, other] }) {
  const [large, small] = one.values.length < other.values.length ? [other, one] : [one, other];
  const first = small.shape.findIndex((length) => length > 1);
  const repeated = first < 0 ? [] : small.shape.slice(first);
  const end = large.shape.slice(large.shape.length - repeated.length);
  if (String(end) !== String(repeated)) throw cannotRun(`${kind} of ${shapesOf([one, other])}`);
  return large.shape;
}

function joinedShape({ inputs, options, output: { shape } }) {
  const axis = options.axis < 0 ? options.axis + shape.length : options.axis;
  const alike = (input) =>
    input.shape.length === shape.length &&
    shape.every((length, index) => index === axis || input.shape[index] === length);
  demand(axis in shape && inputs.every(alike), "branches do not fit together");
  const joined = inputs.reduce((sum, input) => sum + input.shape[axis], 0);
  return shape.map((length, index) => (index === axis ? joined : length));
}

function paddedShape({ inputs: [picture, { values }] }) {
  demand(values.length === 8 && min(...values) >= 0, "a margin has no size");
  if (values[0] + values[1] + values[6] + values[7]) throw cannotRun("PAD of channels");
  return picture.shape.map((length, axis) => length + values[2 * axis] + values[2 * axis + 1]);
}

function reshapedShape({ inputs: [input], output }) {
  demand(input.values.length === output.values.length, "a layer loses numbers");
  return output.shape;
}

function sameShape({ inputs: [input] }) {
  return input.shape;
}

function shapesOf(tensors) {
  return tensors.map(({ shape }) => shape.join(" × ")).join(" and ");
}

function cannotRun(what) {
  return new ModelError(`This page cannot run ${what}.`);
}

function demand(condition, otherwise) {
  if (!condition) damaged(otherwise);
}
