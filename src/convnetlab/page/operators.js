// The operators of a convolutional network: how each layer is computed from the one before.
//
// A tensor is {shape, values, type, scale, zeroPoint, …}. Pictures and feature maps have the shape
// [1, height, width, channels]: one picture, row by row, in a row pixel by pixel, and all channels
// of a pixel side by side. So the value of (y, x, channel) stands at the index
// (y · width + x) · channels + channel.
//
// The values of a `float32` tensor are the numbers that are meant. Those of an `int8` tensor are
// whole numbers q from -128 to 127, and scale · (q - zeroPoint) is meant. So a sum of products
// needs whole numbers only; at the end it is brought to the scale of the output (`finish`).
// Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", section 2. We round as LiteRT does on a PC (its kernels are
// XNNPACK's), so that every answer is the same to the last bit.
//
// An operator takes a step {inputs, output, options, weights, low, high} and fills output.values.
// `low` and `high` bound them: ReLU is the bound 0 below, ReLU6 also 6 above.

"use strict";

const VALID = 1; // padding: all windows lie in the picture; 0, "same": a margin of zeros is added
const { fround, min, max, ceil, floor } = Math; // fround: to the nearest float32

/** CONV_2D: every filter looks through a window that moves over the picture. */
function convolve(step) {
  const { inputs: [picture, filters, bias], output } = step;
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth; // mostly 1: every filter sees all channels
  const scales = scalesOf(picture, filters, output, count);
  const sums = new Float64Array(count);
  for (let group = 0; group < groups; group++) {
    const [first, end] = [(group * count) / groups, ((group + 1) * count) / groups];
    slide(step, height, width, { first: group * depth, depth }, (seen, place) => {
      weigh(seen, step.weights, bias, sums, first, end);
      for (let filter = first; filter < end; filter++) {
        output.values[place * count + filter] = finish(sums[filter], scales[filter], step);
      }
    });
  }
}

/** FULLY_CONNECTED: every unit sees all numbers of the layer before, each with its weight. */
function connect(step) {
  const { inputs: [input, { shape: [units, length], ...weights }, bias], output } = step;
  const scales = scalesOf(input, weights, output, units);
  const sums = new Float64Array(units);
  for (let row = 0; row < input.values.length / length; row++) {
    const numbers = input.values.subarray(row * length, (row + 1) * length);
    const seen = numbers.map((number) => number - input.zeroPoint);
    weigh(seen, step.weights, bias, sums, 0, units);
    for (let unit = 0; unit < units; unit++) {
      output.values[row * units + unit] = finish(sums[unit], scales[unit], step);
    }
  }
}

/**
 * Set each filter's sum to its bias plus what is seen times its weights: the work of a network.
 * All filters' weights for the first number seen stand side by side, then those for the second.
 */
function weigh(seen, weights, bias, sums, first, end) {
  for (let filter = first; filter < end; filter++) sums[filter] = at(bias, filter);
  for (let index = 0; index < seen.length; index++) {
    const number = seen[index];
    if (number === 0) continue; // it adds nothing; a ReLU leaves many zeros
    const start = index * sums.length;
    for (let filter = first; filter < end; filter++) {
      sums[filter] += number * weights[start + filter];
    }
  }
}

/** A filter's bias; 0 if the layer has none. */
function at(bias, filter) {
  return bias ? bias.values[filter] : 0;
}

/** DEPTHWISE_CONV_2D: every channel has a filter of its own, which sees no other channel. */
function convolveDepthwise(step) {
  const { inputs: [picture, filters, bias], output } = step;
  const [, height, width, count] = filters.shape;
  const depth = picture.shape[3];
  const each = count / depth; // filters of a channel, mostly 1
  const scales = scalesOf(picture, filters, output, count);
  const weights = filters.values;
  slide(step, height, width, { depth }, (seen, place) => {
    for (let filter = 0; filter < count; filter++) {
      let sum = at(bias, filter);
      let weight = filter;
      for (let index = floor(filter / each); index < seen.length; index += depth) {
        sum += seen[index] * weights[weight];
        weight += count;
      }
      output.values[place * count + filter] = finish(sum, scales[filter], step);
    }
  });
}

/** MAX_POOL_2D: the largest number of each channel in the window. */
function poolMaximum(step) {
  const { output, options: { height, width } } = step;
  const depth = output.shape[3];
  slide(step, height, width, { depth, zero: 0, beyond: -Infinity }, (seen, place) => {
    for (let channel = 0; channel < depth; channel++) {
      let largest = -Infinity;
      for (let index = channel; index < seen.length; index += depth) {
        largest = max(largest, seen[index]);
      }
      output.values[place * depth + channel] = bounded(largest, step);
    }
  });
}

/** AVERAGE_POOL_2D: the mean of each channel in the window; what is beyond does not count. */
function poolMean(step) {
  const { output, options: { height, width } } = step;
  const depth = output.shape[3];
  slide(step, height, width, { depth, zero: 0 }, (seen, place, inside) => {
    for (let channel = 0; channel < depth; channel++) {
      let sum = 0;
      for (let index = channel; index < seen.length; index += depth) sum += seen[index];
      const mean = isWhole(output) ? roundAway(sum / inside) : sum / inside;
      output.values[place * depth + channel] = bounded(mean, step);
    }
  });
}

/**
 * Move a window over the picture, row by row, and call visit(seen, place, inside) wherever it
 * stops: once for each pixel of the output, the `place`-th.
 *
 * `seen` are the numbers in the window, less the zero point: `depth` channels from `first` on, of
 * one pixel after the other. Outside the picture they are `beyond`; `inside` counts the pixels
 * that are not.
 */
function slide(step, height, width, channels, visit) {
  const { inputs: [picture], options, output } = step;
  const { first = 0, depth, zero = picture.zeroPoint, beyond = 0 } = channels;
  const { strideX, strideY, dilationX = 1, dilationY = 1 } = options;
  const [, rows, columns, all] = picture.shape;
  const [, down, across] = output.shape;
  const top = marginOf(options, down, rows, height, strideY, dilationY);
  const left = marginOf(options, across, columns, width, strideX, dilationX);
  const { values } = picture;
  const seen = new Float32Array(height * width * depth);
  for (let place = 0; place < down * across; place++) {
    const y = floor(place / across) * strideY - top;
    const x = (place % across) * strideX - left;
    let next = 0;
    let inside = 0;
    for (let row = y; row < y + height * dilationY; row += dilationY) {
      for (let column = x; column < x + width * dilationX; column += dilationX) {
        const isInside = row >= 0 && row < rows && column >= 0 && column < columns;
        const start = (row * columns + column) * all + first;
        for (let index = start; index < start + depth; index++) {
          seen[next++] = isInside ? values[index] - zero : beyond;
        }
        if (isInside) inside++;
      }
    }
    visit(seen, place, inside);
  }
}

/** By how much the first window stands out of the picture: half of the margin in all. */
function marginOf({ padding }, outputs, inputs, size, stride, dilation) {
  if (padding === VALID) return 0;
  return floor(max(0, (outputs - 1) * stride + (size - 1) * dilation + 1 - inputs) / 2);
}

/** MEAN: one number for each channel, its mean over the whole picture. */
function average(step) {
  const { inputs: [picture], output } = step;
  const channels = picture.shape[3];
  const pixels = picture.values.length / channels;
  const scale = fround(fround(picture.scale / output.scale) / pixels);
  for (let channel = 0; channel < channels; channel++) {
    let sum = -pixels * picture.zeroPoint;
    for (let place = channel; place < picture.values.length; place += channels) {
      sum += picture.values[place];
    }
    output.values[channel] = finish(sum, scale, step);
  }
}

/** ADD: what a residual block does; or one number for all, or one for each channel. */
function add(step) {
  const { inputs: [one, other], output } = step;
  elementwise(step, isWhole(output) ? sumOfScales(one, other, output) : (a, b) => a + b);
}

/** MUL: likewise a product; the one with 1/255 brings the pixels to 0..1. */
function multiply(step) {
  const { inputs: [one, other], output } = step;
  const scale = fround(fround(one.scale * other.scale) / output.scale);
  elementwise(step, isWhole(output) ? (a, b) => roundEven(fround(a * b * scale)) : (a, b) => a * b);
}

/** Combine two tensors number by number; the smaller one is repeated. */
function elementwise(step, combine) {
  const { inputs: [one, other], output } = step;
  const [a, b] = [one.values, other.values];
  for (let index = 0; index < output.values.length; index++) {
    const first = a[index % a.length] - one.zeroPoint;
    const second = b[index % b.length] - other.zeroPoint;
    output.values[index] = bounded(combine(first, second) + output.zeroPoint, step);
  }
}

/**
 * Return a function that adds whole numbers of two scales. The scales, counted in the output's,
 * are rounded to multiples of a power of two, such that the larger one has 21 bits. So the sum is
 * exact; only the result is rounded, a half upwards.
 */
function sumOfScales(one, other, output) {
  const ratios = [one, other].map((input) => fround(input.scale / output.scale));
  const unit = 2 ** (20 - floor(Math.log2(max(...ratios))));
  const [first, second] = ratios.map((ratio) => roundEven(ratio * unit));
  return (a, b) => floor((a * first + b * second) / unit + 0.5);
}

/** CONCATENATION: several branches' maps, one after the other. */
function join({ inputs, output, options }) {
  const axis = (options.axis + output.shape.length) % output.shape.length;
  let start = 0;
  const whole = sizeOf(output.shape.slice(axis));
  for (const input of inputs) {
    const part = sizeOf(input.shape.slice(axis));
    for (let from = 0, to = start; from < input.values.length; from += part, to += whole) {
      output.values.set(input.values.subarray(from, from + part), to);
    }
    start += part;
  }
}

/** PAD: a margin of zeros around the picture. */
function pad({ inputs: [picture, margins], output }) {
  const [, rows, columns, channels] = picture.shape;
  const [top, left] = [margins.values[2], margins.values[4]];
  output.values.fill(output.zeroPoint);
  for (let y = 0; y < rows; y++) {
    const row = picture.values.subarray(y * columns * channels, (y + 1) * columns * channels);
    output.values.set(row, ((y + top) * output.shape[2] + left) * channels);
  }
}

/** RESHAPE: the same numbers in another shape, such as a flat one. */
function reshape({ inputs: [input], output }) {
  output.values.set(input.values);
}

/** RELU, RELU6: only the bounds of the step. QUANTIZE: the same with another scale. */
function rescale(step) {
  const { inputs: [input], output } = step;
  const scale = isWhole(output) ? fround(input.scale / output.scale) : 1;
  for (let index = 0; index < output.values.length; index++) {
    output.values[index] = finish(input.values[index] - input.zeroPoint, scale, step);
  }
}

/** SOFTMAX: numbers of any size become probabilities: powers of e, divided by their sum. */
function softmax({ inputs: [input], output }) {
  const length = input.shape.at(-1);
  for (let start = 0; start < input.values.length; start += length) {
    const numbers = input.values.subarray(start, start + length);
    const largest = max(...numbers); // taken from all: no power is too large, all shares stay
    const powers = numbers.map((number) => Math.exp(fround(input.scale * (number - largest))));
    let sum = 0;
    for (const power of powers) sum = fround(sum + power);
    const inverse = fround(1 / fround(sum * output.scale));
    for (let index = 0; index < length; index++) {
      const share = fround(powers[index] * inverse);
      output.values[start + index] = isWhole(output)
        ? min(127, floor(share + 0.5) + output.zeroPoint)
        : share;
    }
  }
}

/** Whether a tensor's values are whole numbers that stand for others. */
function isWhole(tensor) {
  return tensor.type !== "float32";
}

/** What each filter's sum is multiplied by, so that it counts in steps of the output's scale. */
function scalesOf(input, { scales }, output, count) {
  return Float32Array.from({ length: count }, (_, filter) => {
    if (!isWhole(output)) return 1;
    return fround(input.scale * (scales.length > 1 ? scales[filter] : scales[0])) / output.scale;
  });
}

/** Turn a sum of products into a number of the output. */
function finish(sum, scale, step) {
  if (!isWhole(step.output)) return bounded(sum * scale, step);
  return bounded(roundEven(fround(fround(sum) * scale)) + step.output.zeroPoint, step);
}

/** Keep a number of the output between the step's bounds. */
function bounded(value, { low, high }) {
  return value < low ? low : value > high ? high : value;
}

/** Round to the nearest whole number; a half to the even one of its two neighbours. */
function roundEven(value) {
  const whole = floor(value + 0.5); // a half upwards
  return whole - value === 0.5 && whole % 2 !== 0 ? whole - 1 : whole;
}

/** Round to the nearest whole number; a half away from zero. */
function roundAway(value) {
  return Math.sign(value) * floor(Math.abs(value) + 0.5);
}
