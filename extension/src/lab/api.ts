/** The server extension `durable_nb.server`, asked through JupyterLab's own connection (base URL, token, XSRF). */

import { ServerConnection } from "@jupyterlab/services";

import type { Context, RunDocument, Snapshot } from "../panel/snapshot";
import { parse, parseContext, parseDocument } from "../panel/snapshot";

/** Where a run lies. `notebook` is relative to the server's root, "" if none is known. */
export interface Address {
  readonly store: string;
  readonly name: string;
  readonly notebook: string;
}

/** A run in a list: a snapshot without its failures, and when it was first and last written, in seconds. */
export interface Summary extends Snapshot {
  readonly updated: number;
  readonly created: number;
}

export interface StoreRuns {
  readonly store: string;
  /** The database, for people. */
  readonly where: string;
  /** Why its runs cannot be read, or "". */
  readonly error: string;
  readonly runs: readonly Summary[];
}

export interface News {
  readonly snapshot: Snapshot;
  readonly context: Context;
}

/** A refusal in words for people; status 0 when the server was not reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  /** Whether the server still has a kernel; rejects while it does not answer. */
  async hasKernel(id: string): Promise<boolean> {
    try {
      await this.ask(`api/kernels/${id}`, { method: "GET" });
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
    return true;
  }

  /** The stores of a notebook or a folder, each with its runs. */
  async runs(place: { notebook: string } | { folder: string }): Promise<readonly StoreRuns[]> {
    const { stores } = await this.json<{ stores: readonly RawStore[] }>("runs", place);
    return stores.map(({ store, where, error, runs }) => ({ store, where, error: error ?? "", runs: runs.map(summary) }));
  }

  async run(address: Address): Promise<News> {
    const raw = await this.json<{ snapshot: unknown }>("run", address);
    return { snapshot: parse(raw.snapshot), context: parseContext(raw) };
  }

  /** As `decode` of panel/mosaic.ts reads it; null when nothing changed after `since`. */
  async mosaic(address: Address, since: number): Promise<ArrayBuffer | null> {
    const answer = await this.get("mosaic", { ...address, since });
    return answer.status === 204 ? null : answer.arrayBuffer();
  }

  async document(address: Address, position: number): Promise<RunDocument | null> {
    return parseDocument(await this.json("document", { ...address, position }));
  }

  /** What a notebook saves of the run: the data of an output, by MIME type. */
  output(address: Address): Promise<Readonly<Record<string, unknown>>> {
    return this.json("output", address);
  }

  async control(address: Address, action: string, value: string): Promise<void> {
    await this.post("control", { ...address, action, value });
  }

  async choose(address: Address, step: number, older: number, choice: "keep" | "recompute"): Promise<void> {
    await this.post("choose", { ...address, step, older, choice });
  }

  /** Drops the results of a run; how many there were. */
  async forget(address: Address): Promise<number> {
    const answer = await this.post("forget", address);
    return ((await answer.json()) as { dropped: number }).dropped;
  }

  private async json<T>(path: string, query: object): Promise<T> {
    return (await (await this.get(path, query)).json()) as T;
  }

  private get(path: string, query: object): Promise<Response> {
    const pairs = Object.entries(query).map(([key, value]) => [key, String(value)]);
    return this.ask(`durable-nb/api/${path}?${new URLSearchParams(pairs)}`, { method: "GET" });
  }

  private post(path: string, body: object): Promise<Response> {
    return this.ask(`durable-nb/api/${path}`, { method: "POST", body: JSON.stringify(body) });
  }

  private async ask(path: string, init: RequestInit): Promise<Response> {
    let answer: Response;
    try {
      answer = await ServerConnection.makeRequest(`${this.settings.baseUrl}${path}`, init, this.settings);
    } catch {
      throw new ApiError(0, "The Jupyter server does not answer.");
    }
    if (answer.ok) return answer;
    throw new ApiError(answer.status, await reason(answer));
  }
}

interface RawStore {
  readonly store: string;
  readonly where: string;
  readonly error?: string | null;
  readonly runs: readonly object[];
}

function summary(raw: object): Summary {
  return parse({ updated: 0, created: 0, ...raw, failures: [], groups: [] }) as Summary;
}

async function reason(answer: Response): Promise<string> {
  const body = (await answer.json().catch(() => null)) as { message?: unknown } | null;
  return typeof body?.message === "string" && body.message ? body.message : `The server said ${answer.status}.`;
}
