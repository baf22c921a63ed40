// A network that is ready to run: its operators in order, each with room for what it computes.

"use strict";

const ACTIVATIONS = { 0: "", 1: "ReLU", 3: "ReLU6" };

const MOST_VALUES = 50_000_000; // of all tensors together: 200 MB

// The table of what can be run. `shape` says from a step's inputs what the output must look like:
// a file that says something else is damaged. `title` is for people.
const OPERATORS = {
  CONV_2D: { run: convolve, shape: convolvedShape, title: convolutionTitle, weights: true },
  DEPTHWISE_CONV_2D: {
    run: convolveDepthwise,
    shape: depthwiseShape,
    title: depthwiseTitle,
    weights: true,
  },
  FULLY_CONNECTED: { run: connect, shape: connectedShape, title: denseTitle, weights: true },
  MAX_POOL_2D: { run: poolMaximum, shape: pooledShape, title: poolingTitle("maximum") },
  AVERAGE_POOL_2D: { run: poolAverage, shape: pooledShape, title: poolingTitle("mean") },
  MEAN: { run: mean, shape: meanShape, title: () => "mean of each map" },
  ADD: { run: add, shape: elementwiseShape, title: elementwiseTitle("sum", "plus"), weights: true },
  MUL: {
    run: multiply,
    shape: elementwiseShape,
    title: elementwiseTitle("product", "times"),
    weights: true,
  },
  CONCATENATION: { run: concatenate, shape: joinedShape, title: () => "maps side by side" },
  PAD: { run: pad, shape: paddedShape, title: () => "margin of zeros" },
  RESHAPE: { run: reshape, shape: reshapedShape, title: () => "in another shape" },
  RELU: { run: rectify, shape: sameShape, title: () => "ReLU" },
  RELU6: { run: rectify, shape: sameShape, title: () => "ReLU6" },
  QUANTIZE: { run: quantise, shape: sameShape, title: quantisationTitle },
  SOFTMAX: { run: softmax, shape: sameShape, title: () => "softmax: probabilities" },
};

class Network {
  /**
   * @param {Uint8Array} bytes of a LiteRT file, float32 or int8
   * @throws {ModelError} the file is damaged, or the page cannot run it
   */
  constructor(bytes) {
    const model = readModel(bytes);
    let room = MOST_VALUES;
    this.tensors = model.tensors.map((tensor) => {
      room -= sizeOf(tensor.shape);
      if (!(room >= 0)) damaged("its tensors are too large");
      return withValues(tensor);
    });
    const known = new Set(this.tensors.filter((tensor) => tensor.data));
    this.input = this.tensor(model.inputs[0]);
    this.output = this.tensor(model.outputs[0]);
    known.add(this.input);
    this.steps = model.operators.map((operator) => {
      const step = this.prepare(operator);
      for (const input of step.inputs) {
        if (input && !known.has(input)) damaged(`${input.name} is used before it is computed`);
      }
      known.add(step.output);
      return step;
    });
    if (this.input.shape.length !== 4 || this.input.data) damaged("it takes no picture");
    if (this.output.shape.length !== 2 || !known.has(this.output)) damaged("it gives no answer");
    this.inputShape = this.input.shape.slice(1);
    this.classCount = this.output.shape[1];
    this.isQuantised = isWhole(this.output);
  }

  tensor(index) {
    return this.tensors[index] ?? damaged(`there is no tensor ${index}`);
  }

  /** Make an operator of the file ready: {kind, inputs, output, options, low, high}. */
  prepare({ kind, inputs, outputs, options }) {
    if (!OPERATORS[kind]) throw new ModelError(`This page cannot run ${kind}.`);
    if (!((options.activation ?? 0) in ACTIVATIONS)) {
      throw new ModelError(`This page cannot run the activation ${options.activation} of ${kind}.`);
    }
    const step = {
      kind,
      options,
      inputs: inputs.map((index) => (index === -1 ? null : this.tensor(index))),
      output: this.tensor(outputs[0]),
    };
    Object.assign(step, boundsOf(step));
    return step;
  }

  /**
   * Recognise a picture.
   *
   * @param {Uint8Array} pixels height · width · channels of them, 0 to 255, as they are
   * @returns {{probabilities: Float32Array, output, layers}}
   */
  run(pixels) {
    this.input.values.set(pixels);
    for (const step of this.steps) OPERATORS[step.kind].run(step);
    const { values } = this.output;
    return {
      probabilities: meant(this.output),
      output: this.isQuantised ? Uint8Array.from(values) : Float32Array.from(values),
      layers: this.steps.map(describe),
    };
  }
}

/** Give a tensor its numbers: those of the file, or room for those to be computed. */
function withValues(tensor) {
  return {
    ...tensor,
    scale: tensor.scales[0] ?? 1,
    zeroPoint: tensor.zeroPoints[0] ?? 0,
    values: tensor.data
      ? tensor.type === "int32" ? tensor.data : Float32Array.from(tensor.data)
      : new Float32Array(sizeOf(tensor.shape)),
  };
}

/** Between which numbers, counted from its zero point, an output must stay. */
function boundsOf({ kind, options, output }) {
  const activation = ACTIVATIONS[options.activation ?? 0] || { RELU: "ReLU", RELU6: "ReLU6" }[kind];
  let [low, high] = [-Infinity, Infinity];
  if (isWhole(output)) {
    const [least, most] = output.type === "uint8" ? [0, 255] : [-128, 127];
    [low, high] = [least - output.zeroPoint, most - output.zeroPoint];
  }
  if (activation) low = Math.max(low, 0);
  if (activation === "ReLU6") {
    high = Math.min(high, isWhole(output) ? roundEven(6 / output.scale) : 6);
  }
  return { low, high };
}

/** What a step has computed, for people. */
function describe({ kind, inputs, output, options }) {
  const { title, weights } = OPERATORS[kind];
  const constants = weights ? inputs.filter((input) => input?.data && input.values.length > 1) : [];
  const activation = ACTIVATIONS[options.activation ?? 0];
  return {
    kind,
    title: title({ kind, inputs, output, options }) + (activation && `, ${activation}`),
    shape: output.shape.slice(1),
    values: meant(output),
    parameters: constants.reduce((count, { values }) => count + values.length, 0),
  };
}

/** The numbers that a tensor's values stand for. */
function meant({ values, scale, zeroPoint }) {
  return values.map((value) => scale * (value - zeroPoint));
}

function convolutionTitle({ inputs: [picture, filters] }) {
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth;
  return `convolution ${height} × ${width}, ${count} filters` + (groups > 1 ? ` in ${groups} groups` : "");
}

function depthwiseTitle({ inputs: [, filters] }) {
  const [, height, width] = filters.shape;
  return `depthwise convolution ${height} × ${width}`;
}

function denseTitle({ inputs: [, weights] }) {
  return `dense, ${weights.shape[0]} units`;
}

function poolingTitle(what) {
  return ({ options: { height, width } }) => `${what} of each ${height} × ${width}`;
}

function elementwiseTitle(ofTwo, withConstant) {
  return ({ inputs }) => {
    const constant = inputs.find((input) => input.data);
    if (!constant) return `${ofTwo} of two layers`;
    if (constant.values.length > 1) return `${withConstant} one number for each channel`;
    return `${withConstant} ${Number(meant(constant)[0].toPrecision(3))}`;
  };
}

function quantisationTitle({ inputs: [input], output }) {
  return `${input.type} as ${output.type}`;
}

// What shape an operator's output has.

function convolvedShape({ inputs: [picture, filters], options }) {
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth;
  demand(isWholeNumber(groups) && isWholeNumber(count / groups), "filters that do not fit their maps");
  return [1, ...windowsShape(picture, height, width, options), count];
}

function depthwiseShape({ inputs: [picture, filters], options }) {
  const [, height, width, count] = filters.shape;
  demand(isWholeNumber(count / picture.shape[3]), "filters that do not fit their maps");
  return [1, ...windowsShape(picture, height, width, options), count];
}

function pooledShape({ inputs: [picture], options }) {
  const { height, width } = options;
  return [1, ...windowsShape(picture, height, width, options), picture.shape[3]];
}

/** How many windows there are, one below the other and side by side. */
function windowsShape(picture, height, width, options) {
  const { padding, strideX, strideY, dilationX = 1, dilationY = 1 } = options;
  return [
    windowsAlong(picture.shape[1], height, strideY, dilationY, padding),
    windowsAlong(picture.shape[2], width, strideX, dilationX, padding),
  ];
}

function windowsAlong(length, size, stride, dilation, padding) {
  demand(min(size, stride, dilation) > 0, "a window without a size or a stride");
  const places = padding === VALID ? length - (size - 1) * dilation : length;
  return ceil(places / stride);
}

function connectedShape({ inputs: [input, weights] }) {
  const [units, length] = weights.shape;
  return [input.values.length / length, units];
}

function meanShape({ inputs: [picture, axes] }) {
  demand(String(axes.values) === "1,2", "a mean over something else than the picture");
  return [1, picture.shape[3]];
}

function elementwiseShape({ inputs: [one, other] }) {
  const [large, small] = one.values.length < other.values.length ? [other, one] : [one, other];
  // What is repeated is one number, or one for each channel.
  const repeated = small.shape.slice(small.shape.findIndex((length) => length > 1));
  const fits = small.values.length === 1 || String(large.shape).endsWith(String(repeated));
  demand(fits, "two tensors that do not fit one another");
  return large.shape;
}

function joinedShape({ inputs, options: { axis }, output }) {
  const joined = [...output.shape];
  const place = (axis + joined.length) % joined.length;
  joined[place] = inputs.reduce((sum, { shape }) => sum + shape[place], 0);
  return joined;
}

function paddedShape({ inputs: [picture, { values }] }) {
  demand(min(...values) >= 0, "a margin of less than nothing");
  return picture.shape.map((length, axis) => length + values[2 * axis] + values[2 * axis + 1]);
}

function reshapedShape({ inputs: [input], output }) {
  demand(input.values.length === output.values.length, "a shape for more or fewer numbers");
  return output.shape;
}

function sameShape({ inputs: [input] }) {
  return input.shape;
}

function isWholeNumber(number) {
  return Number.isInteger(number) && number > 0;
}

function demand(condition, found) {
  if (!condition) damaged(`there is ${found}`);
}
