// The operators of a convolutional network: what is computed from one layer to the next.
//
// A tensor is {shape, values, type, scale, zeroPoint, …}. Pictures and feature maps have the shape
// [1, height, width, channels]: one picture, then row by row, in a row pixel by pixel, and all
// channels of a pixel side by side. So the value of (y, x, channel) stands at the index
// (y · width + x) · channels + channel.
//
// A `float32` tensor's values are the numbers meant. An `int8` tensor's are whole numbers q from
// -128 to 127 that stand for scale · (q - zeroPoint); a layer then needs whole numbers alone, until
// its sum is brought to the scale of its output (`finish`).
// Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", section 2. The roundings are those of LiteRT's XNNPACK.
//
// Every operator takes a step: {inputs, output, options, low, high}. `low` and `high` bound the
// output: a ReLU is the bound 0 below, a ReLU6 also 6 above.

"use strict";

const VALID = 1; // padding: no window stands out of the picture (0, "same": it may, over zeros)
const { fround, min, max, ceil, floor } = Math; // fround: to the nearest float32

/** CONV_2D: every filter looks through a window that moves over the picture. */
function convolve(step) {
  const { inputs: [picture, filters, bias], output } = step;
  const [count, height, width, depth] = filters.shape;
  const groups = picture.shape[3] / depth; // a filter of a group sees only that group's channels
  const scales = scalesOf(picture, filters, output, count);
  const seen = new Float32Array(height * width * depth);
  const look = windowOf(step, height, width, depth, seen, picture.zeroPoint);
  let next = 0;
  for (let y = 0; y < output.shape[1]; y++) {
    for (let x = 0; x < output.shape[2]; x++) {
      for (let group = 0; group < groups; group++) {
        look(y, x, group * depth);
        const end = ((group + 1) * count) / groups;
        for (let filter = (group * count) / groups; filter < end; filter++) {
          const sum = dot(seen, filters.values, filter * seen.length) + at(bias, filter);
          output.values[next++] = finish(sum, scales[filter], step);
        }
      }
    }
  }
}

/** DEPTHWISE_CONV_2D: every channel has filters of its own, and they see nothing else. */
function convolveDepthwise(step) {
  const { inputs: [picture, filters, bias], output } = step;
  const [, height, width, count] = filters.shape;
  const channels = picture.shape[3];
  const each = count / channels; // filters of a channel, mostly 1
  const scales = scalesOf(picture, filters, output, count);
  const weights = filters.values;
  const seen = new Float32Array(height * width * channels);
  const look = windowOf(step, height, width, channels, seen, picture.zeroPoint);
  let next = 0;
  for (let y = 0; y < output.shape[1]; y++) {
    for (let x = 0; x < output.shape[2]; x++) {
      look(y, x, 0);
      for (let filter = 0; filter < count; filter++) {
        let sum = at(bias, filter);
        let weight = filter;
        for (let place = floor(filter / each); place < seen.length; place += channels) {
          sum += seen[place] * weights[weight];
          weight += count;
        }
        output.values[next++] = finish(sum, scales[filter], step);
      }
    }
  }
}

/** FULLY_CONNECTED: every unit sees all numbers of the layer before, each with its weight. */
function connect(step) {
  const { inputs: [input, weights, bias], output } = step;
  const [units, length] = weights.shape;
  const scales = scalesOf(input, weights, output, units);
  const seen = new Float32Array(length);
  let next = 0;
  for (let start = 0; start < input.values.length; start += length) {
    for (let index = 0; index < length; index++) {
      seen[index] = input.values[start + index] - input.zeroPoint;
    }
    for (let unit = 0; unit < units; unit++) {
      const sum = dot(seen, weights.values, unit * length) + at(bias, unit);
      output.values[next++] = finish(sum, scales[unit], step);
    }
  }
}

/** The sum of the products of what is seen and as many weights, the first of them at `start`. */
function dot(seen, weights, start) {
  let sum = 0;
  for (let index = 0; index < seen.length; index++) sum += seen[index] * weights[start + index];
  return sum;
}

/** A filter's bias; 0 if the layer has none. */
function at(bias, filter) {
  return bias ? bias.values[filter] : 0;
}

/**
 * Return a function look(y, x, first) that copies into `seen` what the window sees for the output
 * at (y, x): `depth` channels from `first` on, less the zero point, and `beyond` outside the
 * picture. It returns how many of the window's pixels are inside.
 */
function windowOf({ inputs: [picture], options, output }, height, width, depth, seen, zero, beyond = 0) {
  const { values, shape: [, rows, columns, channels] } = picture;
  const { strideX, strideY, dilationX = 1, dilationY = 1 } = options;
  const top = marginOf(options, output.shape[1], rows, height, strideY, dilationY);
  const left = marginOf(options, output.shape[2], columns, width, strideX, dilationX);
  return (y, x, first) => {
    let next = 0;
    let inside = 0;
    for (let down = 0; down < height; down++) {
      const row = y * strideY - top + down * dilationY;
      for (let right = 0; right < width; right++) {
        const column = x * strideX - left + right * dilationX;
        if (row < 0 || row >= rows || column < 0 || column >= columns) {
          seen.fill(beyond, next, next + depth);
          next += depth;
          continue;
        }
        inside++;
        const start = (row * columns + column) * channels + first;
        for (let index = start; index < start + depth; index++) {
          seen[next++] = values[index] - zero;
        }
      }
    }
    return inside;
  };
}

/** By how much the first window stands out of the picture: half of what "same" padding adds. */
function marginOf({ padding }, outputs, inputs, size, stride, dilation) {
  if (padding === VALID) return 0;
  const missing = (outputs - 1) * stride + (size - 1) * dilation + 1 - inputs;
  return floor(max(0, missing) / 2);
}

/** MAX_POOL_2D: the largest number of each channel in the window. */
function poolMaximum(step) {
  const { output, options: { height, width } } = step;
  const channels = output.shape[3];
  const seen = new Float32Array(height * width * channels);
  const look = windowOf(step, height, width, channels, seen, 0, -Infinity);
  let next = 0;
  for (let y = 0; y < output.shape[1]; y++) {
    for (let x = 0; x < output.shape[2]; x++) {
      look(y, x, 0);
      for (let channel = 0; channel < channels; channel++) {
        let largest = -Infinity;
        for (let place = channel; place < seen.length; place += channels) {
          largest = max(largest, seen[place]);
        }
        output.values[next++] = bound(largest - output.zeroPoint, step) + output.zeroPoint;
      }
    }
  }
}

/** AVERAGE_POOL_2D: the mean of each channel in the window, the border not counted. */
function poolAverage(step) {
  const { inputs: [picture], output, options: { height, width } } = step;
  const channels = output.shape[3];
  const seen = new Float32Array(height * width * channels);
  const look = windowOf(step, height, width, channels, seen, 0);
  let next = 0;
  for (let y = 0; y < output.shape[1]; y++) {
    for (let x = 0; x < output.shape[2]; x++) {
      const inside = look(y, x, 0);
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let place = channel; place < seen.length; place += channels) sum += seen[place];
        const mean = isWhole(picture) ? roundAway(sum / inside) : sum / inside;
        output.values[next++] = bound(mean - output.zeroPoint, step) + output.zeroPoint;
      }
    }
  }
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
    output.values[index] = bound(combine(first, second), step) + output.zeroPoint;
  }
}

/**
 * Return a function that adds whole numbers of two scales. Both scales, counted in the output's, are
 * rounded to whole multiples of the same power of two, the larger one to 21 bits; so the sum is
 * exact, and only its division by that power is rounded, a half upwards.
 */
function sumOfScales(one, other, output) {
  const ratios = [one, other].map((input) => fround(input.scale / output.scale));
  const unit = 2 ** (20 - floor(Math.log2(max(...ratios))));
  const [first, second] = ratios.map((ratio) => roundEven(ratio * unit));
  return (a, b) => floor((a * first + b * second) / unit + 0.5);
}

/** CONCATENATION: several branches' maps, one after the other. */
function concatenate({ inputs, output, options }) {
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
  if (!isWhole(step.output)) return bound(sum * scale, step);
  return bound(roundEven(fround(fround(sum) * scale)), step) + step.output.zeroPoint;
}

/** Keep a number, counted from the output's zero point, between the step's bounds. */
function bound(value, { low, high }) {
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
