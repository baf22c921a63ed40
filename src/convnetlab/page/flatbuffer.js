// Reads a trained network from the bytes of a LiteRT file (TensorFlow Lite, `.tflite`).
//
// Such a file is a flatbuffer: records ("tables") that point at one another, so that it can be read
// where it lies. A table begins with the distance back to its list of fields ("vtable"), and that
// list says for each field how far from the table's beginning its value stands; 0 means that it was
// left out. Which number a field has is written down in TensorFlow's schema.fbs; here it is the
// argument of `int(…)`, `table(…)` and so on. All numbers are little-endian.
// https://flatbuffers.dev/internals

"use strict";

/** What is wrong with a network's file, in a sentence for the person who opened it. */
class ModelError extends Error {}

const IDENTIFIER = "TFL3"; // the bytes 4 to 7 of every LiteRT file
const VERSION = 3; // of the schema
const MOST_ENTRIES = 10_000; // of a list; GoogLeNet has 200 tensors

/** One record of a flatbuffer; each method reads the field with a number, or gives a default. */
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

  table(field) {
    const place = this.place(field);
    return place ? follow(this.view, place) : null;
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

  list(field, size, read) {
    const { start, length } = this.vector(field, size, MOST_ENTRIES);
    return Array.from({ length }, (_, index) => read(start + index * size));
  }

  /** The bytes of a vector, not copied. */
  bytes(field) {
    const { start, length } = this.vector(field, 1, Infinity);
    return new Uint8Array(this.view.buffer, start, length);
  }

  text(field) {
    return new TextDecoder().decode(this.bytes(field));
  }

  /** Where a vector's first entry stands, and how many entries of `size` bytes there are. */
  vector(field, size, most) {
    const place = this.place(field);
    if (!place) return { start: 0, length: 0 };
    const start = place + this.view.getUint32(place, true) + 4;
    const length = this.view.getUint32(start - 4, true);
    if (length > most || start + length * size > this.view.byteLength) throw new RangeError();
    return { start, length };
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

// The operators that we can run, by their numbers in the schema, with the fields of their options:
// name, number, how it is read, and what it is if left out.
const ACTIVATION = (field) => ["activation", field, "byte"];
const STRIDES = [
  ["padding", 0, "byte"],
  ["strideX", 1, "int"],
  ["strideY", 2, "int"],
];
const POOLING = [...STRIDES, ["width", 3, "int"], ["height", 4, "int"], ACTIVATION(5)];
const DILATIONS = (field) => [
  ["dilationX", field, "int", 1],
  ["dilationY", field + 1, "int", 1],
];
const KINDS = {
  0: { kind: "ADD", fields: [ACTIVATION(0)] },
  1: { kind: "AVERAGE_POOL_2D", fields: POOLING },
  2: { kind: "CONCATENATION", fields: [["axis", 0, "int"]] },
  3: { kind: "CONV_2D", fields: [...STRIDES, ACTIVATION(3), ...DILATIONS(4)] },
  4: { kind: "DEPTHWISE_CONV_2D", fields: [...STRIDES, ACTIVATION(4), ...DILATIONS(5)] },
  9: { kind: "FULLY_CONNECTED", fields: [ACTIVATION(0)] },
  17: { kind: "MAX_POOL_2D", fields: POOLING },
  18: { kind: "MUL", fields: [ACTIVATION(0)] },
  19: { kind: "RELU", fields: [] },
  21: { kind: "RELU6", fields: [] },
  22: { kind: "RESHAPE", fields: [] },
  25: { kind: "SOFTMAX", fields: [] },
  34: { kind: "PAD", fields: [] },
  40: { kind: "MEAN", fields: [["keepDimensions", 0, "byte"]] },
  114: { kind: "QUANTIZE", fields: [] },
};

/**
 * Read a network from a file's bytes.
 *
 * @param {Uint8Array} bytes
 * @returns {{tensors, operators, inputs, outputs}} Tensors {name, shape, type, scales, zeroPoints,
 *   axis, data}; `data` is null for what is not stored but computed. Operators {kind, inputs,
 *   outputs, options}, in the order in which they are run; `inputs` and `outputs` are indices of
 *   tensors, -1 for one that was left out.
 * @throws {ModelError} the file is damaged, or of another kind.
 */
function readModel(bytes) {
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== IDENTIFIER) {
    throw new ModelError("This is not a LiteRT file (.tflite): it begins differently.");
  }
  try {
    return readTables(new DataView(bytes.slice().buffer));
  } catch (error) {
    if (error instanceof RangeError) damaged("something in it points outside");
    throw error;
  }
}

function readTables(view) {
  const model = follow(view, 0);
  if (model.int(0) !== VERSION) {
    throw new ModelError(`The file has version ${model.int(0)} of the format, not ${VERSION}.`);
  }
  const kinds = model.tables(1).map(readKind);
  const [network, ...others] = model.tables(2);
  if (!network || others.length) damaged("it should hold one network, and holds none or several");
  const buffers = model.tables(4).map((buffer) => buffer.bytes(0));
  return {
    tensors: network.tables(0).map((tensor) => readTensor(tensor, buffers)),
    inputs: network.ints(1),
    outputs: network.ints(2),
    operators: network.tables(3).map((operator) => readOperator(operator, kinds)),
  };
}

function readKind(table) {
  // Once the number was one byte; now both fields are there, and the larger one counts.
  const number = Math.max(table.byte(0), table.int(3));
  return KINDS[number] ?? { kind: `operator ${number}`, fields: [] };
}

function readOperator(table, kinds) {
  const { kind, fields } = kinds[table.int(0)] ?? damaged("an operator has no kind");
  const values = table.table(4);
  const options = {};
  for (const [name, field, read, otherwise = 0] of fields) {
    options[name] = values ? values[read](field, otherwise) : otherwise;
  }
  return { kind, inputs: table.ints(1), outputs: table.ints(2), options };
}

function readTensor(table, buffers) {
  const name = table.text(3);
  const shape = table.ints(0);
  if (!shape.every((length) => length > 0)) damaged(`the tensor ${name} has no size`);
  const { type, Values } = TYPES[table.byte(1)] ?? { type: `type ${table.byte(1)}` };
  const bytes = buffers[table.int(2)] ?? damaged(`the tensor ${name} has no buffer`);
  const quantisation = table.table(4);
  return {
    name,
    shape,
    type,
    scales: quantisation?.floats(2) ?? [],
    zeroPoints: quantisation?.longs(3) ?? [],
    axis: quantisation?.int(6) ?? 0,
    data: bytes.length && Values ? asNumbers(bytes, Values, sizeOf(shape)) : null,
  };
}

/** A buffer's bytes, seen as numbers of a type. */
function asNumbers(bytes, Values, count) {
  if (count * Values.BYTES_PER_ELEMENT !== bytes.length) damaged("a tensor has another size");
  return new Values(bytes.buffer, bytes.byteOffset, count);
}

function damaged(reason) {
  throw new ModelError(`The file of the network is damaged: ${reason}.`);
}

/** How many numbers a shape holds. */
function sizeOf(shape) {
  return shape.reduce((size, length) => size * length, 1);
}
