/** One byte for each document, how it arrives, and how many share a square. No DOM. */

export const WAITING = 0;
export const RESTORED = 1;
export const COMPUTED = 2;
export const FAILED = 3;
/** Of a square only: some of its documents wait, and none has failed. */
export const PARTLY = 4;
/** Of a square only: it lies beyond the documents that are known of. */
export const ABSENT = 5;
export const KINDS = ["waiting", "restored", "computed", "failed", "partly"] as const;

const HEADER = 9;
/** A position beyond this is taken for damage rather than for memory to be had. */
const MOST = 1 << 24;

/** As in durable_nb/wire.py: little endian, kind (u8), version (u32), count (u32), then the states or the changes. */
export type Message =
  | { readonly kind: "full"; readonly version: number; readonly states: Uint8Array }
  | { readonly kind: "delta"; readonly version: number; readonly positions: Uint32Array; readonly states: Uint8Array };

/** What a message says, or a TypeError when it is not one. */
export function decode(buffer: ArrayBuffer): Message {
  if (buffer.byteLength < HEADER) throw new TypeError(`mosaic: ${buffer.byteLength} bytes are no message`);
  const view = new DataView(buffer);
  const kind = view.getUint8(0);
  const version = view.getUint32(1, true);
  const count = view.getUint32(5, true);
  const size = HEADER + count * (kind === 0 ? 1 : 5);
  if (kind > 1) throw new TypeError(`mosaic: unknown kind ${kind}`);
  if (buffer.byteLength !== size) throw new TypeError(`mosaic: ${buffer.byteLength} bytes instead of ${size}`);
  if (count > MOST) throw new TypeError(`mosaic: ${count} documents`);
  if (kind === 0) return { kind: "full", version, states: new Uint8Array(buffer, HEADER) };
  // Not a view on the buffer: the positions start at an odd byte, and have an order of bytes.
  const positions = Uint32Array.from({ length: count }, (_, index) => view.getUint32(HEADER + 4 * index, true));
  if (positions.some((position) => position >= MOST)) throw new TypeError("mosaic: a position is out of bounds");
  return { kind: "delta", version, positions, states: new Uint8Array(buffer, HEADER + 4 * count) };
}

/** The states of all documents, by position. */
export class Mosaic {
  version = 0;
  /** How many documents are waiting, restored, computed, failed. */
  readonly counts = [0, 0, 0, 0];
  #states = new Uint8Array(0);
  #length = 0;

  get states(): Uint8Array {
    return this.#states.subarray(0, this.#length);
  }

  /** Take a message in. Returns the positions that it changes; null when everything has to be drawn again. */
  apply(message: Message): Uint32Array | null {
    if (message.kind === "full") {
      this.version = message.version;
      this.#states = message.states.slice();
      this.#length = message.states.length;
      this.counts.fill(0);
      for (let position = 0; position < this.#length; position += 1) {
        const state = known(this.#states[position]!);
        this.#states[position] = state;
        this.counts[state]! += 1;
      }
      return null;
    }
    if (message.version < this.version) return new Uint32Array(0); // overtaken by a newer one
    this.version = message.version;
    const grew = this.expect(message.positions.reduce((most, position) => Math.max(most, position + 1), 0));
    message.positions.forEach((position, index) => {
      const state = known(message.states[index]!);
      this.counts[this.#states[position]!]! -= 1;
      this.counts[state]! += 1;
      this.#states[position] = state;
    });
    return grew ? null : message.positions;
  }

  /** There are at least `wanted` documents, waiting until their state arrives. Returns whether that is news. */
  expect(wanted: number): boolean {
    const length = Math.min(wanted, MOST); // what a loop over all numbers wants needs no byte each
    if (length <= this.#length) return false;
    if (length > this.#states.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#states.length));
      larger.set(this.states);
      this.#states = larger;
    }
    this.counts[WAITING]! += length - this.#length;
    this.#length = length;
    return true;
  }
}

/** Squares of `cell` px with `gap` px of it between them, in rows; each stands for `share` documents, in order. */
export interface Grid {
  readonly cell: number;
  readonly gap: number;
  readonly columns: number;
  readonly rows: number;
  readonly share: number;
  readonly squares: number;
}

const LARGEST_PX = 12;
const SMALLEST_PX = 2;
const HEIGHT_PX = 112;

/** Room for documents of a run that does not know how many it has: doubling, so that squares seldom move. */
export function roomFor(documents: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(documents, 64)));
}

/** The largest squares that fit a width; when even the smallest do not fit, several documents share one. */
export function gridFor(documents: number, width: number): Grid {
  for (let cell = LARGEST_PX; cell >= SMALLEST_PX; cell -= 1) {
    const columns = Math.max(1, Math.floor(width / cell));
    const rows = Math.ceil(documents / columns);
    if (rows * cell > HEIGHT_PX) continue;
    const gap = cell > 3 ? 1 : 0; // between smaller ones it would be most of the picture
    return { cell, gap, columns: Math.min(columns, Math.max(1, documents)), rows, share: 1, squares: documents };
  }
  const columns = Math.max(1, Math.floor(width / SMALLEST_PX));
  const share = Math.ceil(documents / (columns * (HEIGHT_PX / SMALLEST_PX)));
  const squares = Math.ceil(documents / share);
  return { cell: SMALLEST_PX, gap: 0, columns, rows: Math.ceil(squares / columns), share, squares };
}

/** The first document of a square, and the one after its last. */
export function documentsOf(square: number, grid: Grid, documents: number): readonly [number, number] {
  return [square * grid.share, Math.min(documents, (square + 1) * grid.share)];
}

/** What a square shows, the worst of its documents first: one failure among a thousand is seen. */
export function stateOf(square: number, grid: Grid, states: Uint8Array): number {
  const [start, end] = documentsOf(square, grid, states.length);
  if (start >= end) return ABSENT;
  let seen = 0;
  for (let position = start; position < end; position += 1) seen |= 1 << states[position]!;
  if (seen & (1 << FAILED)) return FAILED;
  if (seen & (1 << WAITING)) return seen === 1 << WAITING ? WAITING : PARTLY;
  return seen & (1 << COMPUTED) ? COMPUTED : RESTORED;
}

/** What every square shows. */
export function squaresOf(states: Uint8Array, grid: Grid): Uint8Array {
  return new Uint8Array(grid.squares).map((_, square) => stateOf(square, grid, states));
}

/** Bring `squares` up to date after `positions` changed. Returns the squares that look different now. */
export function repaired(squares: Uint8Array, positions: Uint32Array, states: Uint8Array, grid: Grid): readonly number[] {
  const changed: number[] = [];
  for (const square of new Set(Array.from(positions, (position) => Math.floor(position / grid.share)))) {
    if (square >= squares.length) continue;
    const state = stateOf(square, grid, states);
    if (squares[square] !== state) changed.push(square);
    squares[square] = state;
  }
  return changed;
}

/** How many documents of a stretch are in each state. */
export function countsOf(states: Uint8Array, start: number, end: number): readonly number[] {
  const counts = [0, 0, 0, 0];
  for (let position = start; position < end; position += 1) counts[states[position] ?? WAITING]! += 1;
  return counts;
}

/** The document that a square is named after: its first failure, else its first document. */
export function namesake(states: Uint8Array, start: number, end: number): number {
  const failure = states.subarray(start, end).indexOf(FAILED);
  return failure < 0 ? start : start + failure;
}

/** The next failed document after `position`, going round; null when there is none. */
function nextFailure(states: Uint8Array, position: number): number | null {
  const after = states.indexOf(FAILED, position + 1);
  const found = after < 0 ? states.indexOf(FAILED) : after;
  return found < 0 ? null : found;
}

/** Where a key leads from a square: to another one, to none (null), or nowhere because it is not for us (undefined). */
export function targetOf(key: string, at: number | null, grid: Grid, states: Uint8Array): number | null | undefined {
  const last = Math.ceil(states.length / grid.share) - 1;
  const steps: Readonly<Record<string, number>> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns };
  const step = steps[key];
  if (step !== undefined) {
    if (at === null) return 0;
    return at + step < 0 || at + step > last ? at : at + step;
  }
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key === "Escape") return at === null ? undefined : null;
  if (key !== "f" && key !== "F") return undefined;
  const failure = nextFailure(states, at === null ? -1 : (at + 1) * grid.share - 1);
  return failure === null ? at : Math.floor(failure / grid.share);
}

function known(state: number): number {
  return state <= FAILED ? state : WAITING;
}
