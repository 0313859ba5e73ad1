/** The squares of the mosaic on a canvas: where they stand, what they show, and painting those that changed. */

import { make } from "../dom";
import type { Grid, Mosaic } from "../mosaic";
import { ABSENT, FAILED, gridFor, KINDS, repaired, roomFor, squaresOf } from "../mosaic";

/** From this size on a failed square is hollow, so that its colour is not all that tells it. */
const HOLLOW_PX = 6;

export class Squares {
  readonly canvas = make("canvas", "dnb-canvas");
  /** A canvas has no style of its own: these elements lend it the colours of the theme. */
  readonly tones = KINDS.map((kind) => make("i", `dnb-tone dnb-${kind}`));
  grid: Grid = gridFor(0, 1);
  #shown: Uint8Array = new Uint8Array(0);
  #palette: readonly string[] = [];

  /** Make room for the documents. Returns whether squares moved: not while it is the same room. */
  fit(mosaic: Mosaic, total: number | null, width: number): boolean {
    const documents = Math.max(total ?? roomFor(mosaic.states.length), mosaic.states.length);
    const grid = gridFor(documents, width);
    const size = [grid.columns * grid.cell, grid.rows * grid.cell] as const;
    const [across, down] = size.map((px) => Math.round(px * (window.devicePixelRatio || 1))) as [number, number];
    const same = JSON.stringify(grid) === JSON.stringify(this.grid);
    if (same && this.canvas.width === across && this.canvas.height === down) return false;
    this.grid = grid;
    this.#shown = new Uint8Array(0); // setting the size of a canvas clears it
    [this.canvas.width, this.canvas.height] = [across, down];
    [this.canvas.style.width, this.canvas.style.height] = [`${size[0]}px`, `${size[1]}px`];
    return true;
  }

  /** Paint what looks different since the last time; `positions` are the only ones that may, null: any may. */
  show({ states }: Mosaic, positions: Uint32Array | null): void {
    if (positions && this.#shown.length === this.grid.squares) {
      this.#paint(repaired(this.#shown, positions, states, this.grid));
      return;
    }
    const before = this.#shown;
    this.#shown = squaresOf(states, this.grid);
    this.#paint(Array.from(this.#shown.keys()).filter((square) => this.#shown[square] !== before[square]));
  }

  /** Take the colours of the theme, when they are others. */
  recolour(): void {
    if (!this.canvas.isConnected) return; // a computed style is empty then
    const palette = this.tones.map((tone) => getComputedStyle(tone).color);
    if (palette.join() === this.#palette.join()) return;
    this.#palette = palette;
    this.#paint(this.#shown.keys());
  }

  /** The square at a place in the window; null beside them. */
  at(clientX: number, clientY: number): number | null {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((clientX - box.left) / this.grid.cell);
    const row = Math.floor((clientY - box.top) / this.grid.cell);
    if (column < 0 || row < 0 || column >= this.grid.columns) return null;
    const square = row * this.grid.columns + column;
    return (this.#shown[square] ?? ABSENT) === ABSENT ? null : square;
  }

  /** The middle of a square in px from the corner of the canvas. */
  middle(square: number): readonly [number, number] {
    const { cell, gap, columns } = this.grid;
    const column = square % columns;
    return [(column + 0.5) * cell - gap / 2, ((square - column) / columns + 0.5) * cell - gap / 2];
  }

  #paint(squares: Iterable<number>): void {
    const context = this.canvas.getContext("2d");
    if (!context || this.#palette.length === 0) return;
    const { cell, columns, gap } = this.grid;
    const ratio = this.canvas.width / (columns * cell);
    const edge = (n: number) => Math.round(n * cell * ratio); // sharp at any ratio
    const between = Math.round(gap * ratio);
    const hole = cell >= HOLLOW_PX ? Math.max(2, Math.round((cell * ratio) / 3.5)) : 0;
    for (const [state, alike] of byValue(squares, this.#shown)) {
      context.fillStyle = this.#palette[state] ?? "transparent";
      const failed = state === FAILED;
      const inset = failed ? 0 : between; // a failed square fills its gap
      for (const [first, last] of runs(alike, between > 0 ? 1 : columns)) {
        const column = first % columns;
        const row = (first - column) / columns;
        const [x, y] = [edge(column), edge(row)];
        const [width, height] = [edge(column + last - first + 1) - x, edge(row + 1) - y];
        // Always: a colour over another one that is not quite opaque would show both.
        context.clearRect(x, y, width, height);
        if (state !== ABSENT) context.fillRect(x, y, width - inset, height - inset);
        if (failed && hole) context.clearRect(x + hole, y + hole, width - 2 * hole, height - 2 * hole);
      }
    }
  }
}

/** First and last square of neighbours in a row, which one rectangle covers: of a million, hundreds instead of 28,000. */
function* runs(squares: readonly number[], columns: number): Iterable<readonly [number, number]> {
  for (let index = 0; index < squares.length; index += 1) {
    const first = squares[index]!;
    let last = first;
    while (squares[index + 1] === last + 1 && (last + 1) % columns !== 0) {
      last += 1;
      index += 1;
    }
    yield [first, last];
  }
}

/** The squares put together by what they show: a canvas is slow at changing its colour, not at filling. */
function byValue(squares: Iterable<number>, shown: Uint8Array): ReadonlyMap<number, readonly number[]> {
  const groups = new Map<number, number[]>();
  for (const square of squares) {
    const group = groups.get(shown[square]!);
    if (group) group.push(square);
    else groups.set(shown[square]!, [square]);
  }
  return groups;
}
