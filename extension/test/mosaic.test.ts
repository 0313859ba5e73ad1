import assert from "node:assert/strict";
import { test } from "node:test";

import * as mosaic from "../src/panel/mosaic";

const { COMPUTED, FAILED, gridFor, Mosaic, PARTLY, RESTORED, stateOf, WAITING } = mosaic;

function full(version: number, states: readonly number[]): ArrayBuffer {
  const view = header(0, version, states.length, states.length);
  states.forEach((state, index) => view.setUint8(9 + index, state));
  return view.buffer;
}

function delta(version: number, changes: readonly (readonly [number, number])[]): ArrayBuffer {
  const view = header(1, version, changes.length, 5 * changes.length);
  changes.forEach(([position, state], index) => {
    view.setUint32(9 + 4 * index, position, true);
    view.setUint8(9 + 4 * changes.length + index, state);
  });
  return view.buffer;
}

function header(kind: number, version: number, count: number, size: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(9 + size));
  view.setUint8(0, kind);
  view.setUint32(1, version, true);
  view.setUint32(5, count, true);
  return view;
}

function mosaicOf(states: readonly number[]) {
  const made = new Mosaic();
  made.apply(mosaic.decode(full(1, states)));
  return made;
}

test("a full message and its deltas give the states of all documents", () => {
  const made = mosaicOf([0, 1, 2, 3, 0]);
  const positions = made.apply(mosaic.decode(delta(300, [[4, 3], [0, 2]])));

  assert.deepEqual([...made.states], [2, 1, 2, 3, 3]);
  assert.deepEqual(made.counts, [0, 1, 2, 2]);
  assert.deepEqual([...positions!], [4, 0]);
  assert.equal(made.version, 300);
});

test("a delta that was overtaken changes nothing", () => {
  const made = mosaicOf([2]);
  made.apply(mosaic.decode(full(7, [3])));
  assert.equal(made.apply(mosaic.decode(delta(6, [[0, 0]])))!.length, 0);
  assert.deepEqual([...made.states], [3]);
});

test("a run without a total grows by deltas", () => {
  const made = mosaicOf([2]);
  assert.equal(made.apply(mosaic.decode(delta(2, [[3, 2]]))), null);
  assert.deepEqual([...made.states], [2, 0, 0, 2]);
  assert.deepEqual(made.counts, [2, 0, 2, 0]);
  assert.equal(made.expect(6), true);
  assert.equal(made.expect(6), false);
  assert.deepEqual(made.counts, [4, 0, 2, 0]);
});

test("what is only announced needs no byte for each", () => {
  const made = mosaicOf([2]);
  assert.equal(made.expect(1e12), true);
  assert.equal(made.states.length, 1 << 24);
  assert.equal(made.expect(1e13), false);
});

test("damage is refused, and a state of the future is one that waits", () => {
  assert.throws(() => mosaic.decode(new ArrayBuffer(3)), /3 bytes/);
  assert.throws(() => mosaic.decode(full(1, [1, 2]).slice(0, 10)), /10 bytes instead of 11/);
  assert.throws(() => mosaic.decode(header(9, 1, 0, 0).buffer), /unknown kind 9/);
  assert.throws(() => mosaic.decode(delta(1, [[0xffffffff, 1]])), /out of bounds/);
  assert.deepEqual([...mosaicOf([9]).states], [WAITING]);
});

test("every document has its place, at any width", () => {
  for (const documents of [1, 7, 100, 9_999, 250_000, 1_000_000]) {
    for (const width of [1, 300, 930, 2000]) {
      const grid = gridFor(documents, width);
      assert.ok(grid.squares * grid.share >= documents, `${documents} in ${width}`);
      assert.ok(grid.columns * grid.rows >= grid.squares);
      assert.ok(grid.columns * grid.cell <= Math.max(width, 12), `${documents} in ${width}: ${grid.columns} × ${grid.cell}`);
      assert.ok(grid.rows * grid.cell <= 120 || width < 12);
    }
  }
  assert.equal(gridFor(20, 930).cell, 12);
  assert.equal(gridFor(10_000, 930).share, 1);
  assert.equal(gridFor(1_000_000, 930).cell, 2);
});

test("the worst state wins a square", () => {
  const grid = { ...gridFor(8, 100), share: 4, squares: 2 };
  const shown = (states: number[]) => stateOf(0, grid, Uint8Array.from(states));
  assert.equal(shown([1, 1, 1, 1]), RESTORED);
  assert.equal(shown([1, 2, 1, 1]), COMPUTED);
  assert.equal(shown([1, 2, 0, 1]), PARTLY);
  assert.equal(shown([0, 0, 0, 0]), WAITING);
  assert.equal(shown([0, 2, 3, 1]), FAILED);
  assert.equal(stateOf(1, grid, Uint8Array.from([1, 1])), mosaic.ABSENT);
});

test("after a delta only squares that look different are drawn", () => {
  const made = mosaicOf([0, 0, 2, 2, 3, 2]);
  const grid = { ...gridFor(6, 100), share: 2, squares: 3 };
  const squares = mosaic.squaresOf(made.states, grid);
  assert.deepEqual([...squares], [WAITING, COMPUTED, FAILED]);

  const positions = made.apply(mosaic.decode(delta(2, [[0, 2], [5, 3]])))!;
  assert.deepEqual(mosaic.repaired(squares, positions, made.states, grid), [0]);
  assert.deepEqual([...squares], [PARTLY, COMPUTED, FAILED]);
});

test("a square is named after its first failure", () => {
  const states = Uint8Array.from([2, 3, 3, 0]);
  assert.equal(mosaic.namesake(states, 0, 3), 1);
  assert.equal(mosaic.namesake(states, 3, 4), 3);
  assert.deepEqual(mosaic.countsOf(states, 1, 4), [1, 0, 0, 2]);
});

test("keys lead to every square, f to the failures, and other keys nowhere", () => {
  const states = Uint8Array.from([2, 2, 2, 3, 0, 0, 3, 2]);
  const grid = { ...gridFor(8, 100), columns: 2, rows: 2, share: 2, squares: 4 };
  const path = (...keys: string[]) => keys.reduce<number | null>((at, key) => mosaic.targetOf(key, at, grid, states) ?? null, null);
  assert.equal(path("ArrowRight"), 0);
  assert.equal(path("Home", "ArrowRight", "ArrowDown"), 3);
  assert.equal(path("Home", "ArrowUp"), 0);
  assert.equal(path("End", "ArrowRight"), 3);
  assert.deepEqual([path("f"), path("f", "f"), path("f", "f", "f")], [1, 3, 1]);
  assert.equal(mosaic.targetOf("f", 2, grid, new Uint8Array(8)), 2);
  assert.equal(mosaic.targetOf("Escape", 2, grid, states), null);
  assert.equal(mosaic.targetOf("Escape", null, grid, states), undefined);
  assert.equal(mosaic.targetOf("a", 2, grid, states), undefined);
});
