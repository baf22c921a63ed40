// Reads a trained network from the bytes of a LiteRT file (TensorFlow Lite, `.tflite`).
//
// Such a file is a flatbuffer: records ("tables") that point at one another, so that it can be read
// where it lies. A table begins with the distance back to its list of fields ("vtable"), and that
// list says for each field how far from the table's beginning its value stands; 0 means that it
// was left out. Which field has which number is written down in TensorFlow's schema.fbs.
// Everything is little-endian. https://flatbuffers.dev/internals

"use strict";

/** What is wrong with a file, in a sentence for the person who opened it. */
class ModelError extends Error {}

const IDENTIFIER = "TFL3"; // stands in the bytes 4 to 7 of every LiteRT file
const VERSION = 3; // of the schema
const MOST_ENTRIES = 10_000; // tensors, operators or buffers; GoogLeNet has 200 tensors

/** One record of a flatbuffer. */
class Table {
  constructor(view, position) {
    this.view = view;
    this.position = position;
    this.fields = position - view.getInt32(position, true);
    this.fieldCount = (view.getUint16(this.fields, true) - 4) / 2;
  }

  /** Where the value of a field stands, or 0 if it was left out. */
  place(field) {
    if (field >= this.fieldCount) return 0;
    const distance = this.view.getUint16(this.fields + 4 + 2 * field, true);
    return distance && this.position + distance;
  }

  byte(field, otherwise = 0) {
    const place = this.place(field);
    return place ? this.view.getInt8(place) : otherwise;
  }

  int(field, otherwise = 0) {
    const place = this.place(field);
    return place ? this.view.getInt32(place, true) : otherwise;
  }

  float(field, otherwise = 0) {
    const place = this.place(field);
    return place ? this.view.getFloat32(place, true) : otherwise;
  }

  /** Where a vector's first entry stands, and how many entries of `size` bytes there are. */
  vector(field, size, most = MOST_ENTRIES) {
    const place = this.place(field);
    if (!place) return { start: 0, length: 0 };
    const start = place + this.view.getUint32(place, true) + 4;
    const length = this.view.getUint32(start - 4, true);
    if (length > most || start + length * size > this.view.byteLength) throw new RangeError();
    return { start, length };
  }

  list(field, size, read) {
    const { start, length } = this.vector(field, size);
    return Array.from({ length }, (_, index) => read(start + index * size));
  }

  ints(field) {
    return this.list(field, 4, (place) => this.view.getInt32(place, true));
  }

  longs(field) {
    return this.list(field, 8, (place) => Number(this.view.getBigInt64(place, true)));
  }

  floats(field) {
    return this.list(field, 4, (place) => this.view.getFloat32(place, true));
  }

  tables(field) {
    return this.list(field, 4, (place) => follow(this.view, place));
  }

  table(field) {
    const place = this.place(field);
    return place ? follow(this.view, place) : null;
  }

  /** The bytes of a vector, not copied. */
  bytes(field) {
    const { start, length } = this.vector(field, 1, Infinity);
    return new Uint8Array(this.view.buffer, this.view.byteOffset + start, length);
  }

  text(field) {
    return new TextDecoder().decode(this.bytes(field));
  }
}

/** The table that the distance at a place leads to. */
function follow(view, place) {
  return new Table(view, place + view.getUint32(place, true));
}

// The kinds of numbers that our networks are made of, by their numbers in the schema.
const TYPES = {
  0: { type: "float32", Values: Float32Array },
  2: { type: "int32", Values: Int32Array },
  3: { type: "uint8", Values: Uint8Array },
  9: { type: "int8", Values: Int8Array },
};

// The operators that the page can run, by their numbers in the schema, and their options in the
// order of their fields there. `null`: a field that we do not need.
const WINDOW = [
  ["padding", "byte"],
  ["strideX", "int"],
  ["strideY", "int"],
];
const KINDS = {
  0: ["ADD", [["activation", "byte"]]],
  1: ["AVERAGE_POOL_2D", [...WINDOW, ["width", "int"], ["height", "int"], ["activation", "byte"]]],
  2: ["CONCATENATION", [["axis", "int"], ["activation", "byte"]]],
  3: [
    "CONV_2D",
    [...WINDOW, ["activation", "byte"], ["dilationX", "int", 1], ["dilationY", "int", 1]],
  ],
  4: [
    "DEPTHWISE_CONV_2D",
    [
      ...WINDOW,
      ["multiplier", "int"],
      ["activation", "byte"],
      ["dilationX", "int", 1],
      ["dilationY", "int", 1],
    ],
  ],
  9: ["FULLY_CONNECTED", [["activation", "byte"]]],
  17: ["MAX_POOL_2D", [...WINDOW, ["width", "int"], ["height", "int"], ["activation", "byte"]]],
  18: ["MUL", [["activation", "byte"]]],
  19: ["RELU", []],
  21: ["RELU6", []],
  22: ["RESHAPE", []],
  25: ["SOFTMAX", [["beta", "float"]]],
  34: ["PAD", []],
  40: ["MEAN", [["keepDimensions", "byte"]]],
  114: ["QUANTIZE", []],
};

/**
 * Read a network from a file's bytes.
 *
 * @param {Uint8Array} bytes
 * @returns {{tensors, operators, inputs, outputs}} Tensors {name, shape, type, scales, zeroPoints,
 *   axis, data}: `data` is null for what is computed, not stored. Operators {kind, inputs, outputs,
 *   options}: they stand in the order in which they are run; inputs and outputs are indices of
 *   tensors, -1 for one that was left out.
 * @throws {ModelError} the file is damaged, or of another kind.
 */
function readModel(bytes) {
  try {
    return readTables(bytes);
  } catch (error) {
    // A distance that leads out of the file, or a string that is none.
    if (error instanceof RangeError || error instanceof TypeError) {
      throw new ModelError("The file of the network is damaged: it points outside itself.");
    }
    throw error;
  }
}

function readTables(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== IDENTIFIER) {
    throw new ModelError("This is not a LiteRT file (.tflite): it begins differently.");
  }
  const model = follow(view, 0);
  if (model.int(0) !== VERSION) {
    throw new ModelError(`The file has version ${model.int(0)} of the format, not ${VERSION}.`);
  }
  const buffers = model.tables(4).map((buffer) => buffer.bytes(0));
  const kinds = model.tables(1).map(readKind);
  const [network, ...others] = model.tables(2);
  if (!network || others.length) {
    throw new ModelError("The file should hold one network, and holds none or several.");
  }
  return {
    tensors: network.tables(0).map((tensor) => readTensor(tensor, buffers)),
    inputs: network.ints(1),
    outputs: network.ints(2),
    operators: network.tables(3).map((operator) => readOperator(operator, kinds)),
  };
}

/** The name and the options of a kind of operator. */
function readKind(table) {
  // Its number was one byte once; now both fields are there, and the larger one counts.
  const number = Math.max(table.byte(0), table.int(3));
  const [kind, fields] = KINDS[number] ?? [`operator ${number}`, []];
  return { kind, fields };
}

function readOperator(table, kinds) {
  const { kind, fields } = kinds[table.int(0)] ?? damaged("an operator has no kind");
  const values = table.table(4);
  const options = {};
  fields.forEach(([name, read, otherwise], field) => {
    options[name] = values ? values[read](field, otherwise) : (otherwise ?? 0);
  });
  return { kind, inputs: table.ints(1), outputs: table.ints(2), options };
}

function readTensor(table, buffers) {
  const shape = table.ints(0);
  const { type, Values } = TYPES[table.byte(1)] ?? { type: `type ${table.byte(1)}` };
  const name = table.text(3);
  const quantisation = table.table(4);
  const bytes = buffers[table.int(2)] ?? damaged(`the tensor ${name} has no buffer`);
  return {
    name,
    shape,
    type,
    scales: quantisation?.floats(2) ?? [],
    zeroPoints: quantisation?.longs(3) ?? [],
    axis: quantisation?.int(6) ?? 0,
    data: bytes.length && Values ? valuesOf(name, bytes, Values, shape) : null,
  };
}

/** See a tensor's bytes as numbers. */
function valuesOf(name, bytes, Values, shape) {
  if (sizeOf(shape) * Values.BYTES_PER_ELEMENT !== bytes.length) {
    damaged(`the tensor ${name} does not fill its shape`);
  }
  return new Values(bytes.buffer, bytes.byteOffset, sizeOf(shape));
}

function damaged(reason) {
  throw new ModelError(`The file of the network is damaged: ${reason}.`);
}

/** How many numbers a shape holds. */
function sizeOf(shape) {
  return shape.reduce((size, length) => size * length, 1);
}
