/**
 * The part of JupyterLab 4.2 to 4.6 and Notebook 7 that is used, written by hand: the real type packages are 421 MB and
 * their registry versions do not always resolve. A browser test runs the bundle in both, which is what guards this file.
 */

declare module "@lumino/signaling" {
  export interface ISignal<Sender, Args> {
    connect(slot: (sender: Sender, args: Args) => void, thisArg?: unknown): boolean;
    disconnect(slot: (sender: Sender, args: Args) => void, thisArg?: unknown): boolean;
  }
}

declare module "@lumino/coreutils" {
  export class Token<T> {
    constructor(name: string);
    readonly name: string;
    readonly provides: T;
  }
}

declare module "@lumino/widgets" {
  import type { ISignal } from "@lumino/signaling";
  export interface Title {
    label: string;
    caption: string;
    icon: unknown;
    closable: boolean;
  }
  export class Widget {
    constructor(options?: { node?: HTMLElement });
    readonly node: HTMLElement;
    readonly title: Title;
    readonly disposed: ISignal<this, void>;
    id: string;
    readonly parent: Widget | null;
    readonly isDisposed: boolean;
    readonly isVisible: boolean;
    addClass(name: string): void;
    dispose(): void;
    /** Ask to be measured again. */
    fit(): void;
    protected onAfterShow(message: unknown): void;
  }
  export class Panel extends Widget {
    readonly widgets: readonly Widget[];
    addWidget(widget: Widget): void;
  }
}

declare module "@jupyterlab/services" {
  export namespace ServerConnection {
    interface ISettings {
      readonly baseUrl: string;
    }
    function makeRequest(url: string, init: RequestInit, settings: ISettings): Promise<Response>;
  }
  export namespace Kernel {
    type Status = string;
    interface IKernelConnection {
      readonly id: string;
      readonly name: string;
      readonly status: Status;
      readonly connectionStatus: "connected" | "connecting" | "disconnected";
    }
  }
  export namespace Contents {
    interface IManager {
      localPath(path: string): string;
    }
  }
}

declare module "@jupyterlab/application" {
  import type { Contents, ServerConnection } from "@jupyterlab/services";
  import type { CommandRegistry } from "@lumino/commands";
  import type { Token } from "@lumino/coreutils";
  import type { Widget } from "@lumino/widgets";
  export interface JupyterFrontEnd {
    readonly commands: CommandRegistry;
    readonly shell: {
      add(widget: Widget, area?: string, options?: { rank?: number; mode?: string }): void;
      activateById(id: string): void;
      readonly currentWidget: Widget | null;
    };
    readonly serviceManager: {
      readonly contents: Contents.IManager;
      readonly serverSettings: ServerConnection.ISettings;
    };
    readonly restored: Promise<unknown>;
  }
  export interface JupyterFrontEndPlugin<T> {
    readonly id: string;
    readonly description?: string;
    readonly autoStart?: boolean;
    readonly requires?: readonly Token<unknown>[];
    readonly optional?: readonly Token<unknown>[];
    /** Lab passes what `requires` and `optional` name, in that order. */
    activate(app: JupyterFrontEnd, ...services: any[]): T | Promise<T>;
  }
  export interface ILabShell {
    readonly currentChanged: unknown;
  }
  export const ILabShell: Token<ILabShell>;
  export interface ILayoutRestorer {
    add(widget: Widget, name: string): void;
  }
  export const ILayoutRestorer: Token<ILayoutRestorer>;
}

declare module "@lumino/commands" {
  export type Arguments = Readonly<Record<string, unknown>>;
  export class CommandRegistry {
    addCommand(
      id: string,
      options: {
        label: string | ((args: Arguments) => string);
        caption?: string;
        icon?: unknown;
        isEnabled?: (args: Arguments) => boolean;
        execute: (args: Arguments) => unknown;
      },
    ): unknown;
    execute(id: string, args?: Arguments): Promise<unknown>;
    hasCommand(id: string): boolean;
    notifyCommandChanged(id?: string): void;
  }
}

declare module "@jupyterlab/apputils" {
  import type { Kernel } from "@jupyterlab/services";
  import type { Token } from "@lumino/coreutils";
  import type { ISignal } from "@lumino/signaling";
  import type { Widget } from "@lumino/widgets";
  export interface ICommandPalette {
    addItem(item: { command: string; category: string; args?: Readonly<Record<string, unknown>> }): unknown;
  }
  export const ICommandPalette: Token<ICommandPalette>;
  export interface ISessionContext {
    readonly isReady: boolean;
    readonly ready: Promise<void>;
    readonly session: { readonly kernel: Kernel.IKernelConnection | null } | null;
    readonly kernelPreference: { readonly name?: string };
    readonly statusChanged: ISignal<ISessionContext, Kernel.Status>;
    readonly connectionStatusChanged: ISignal<ISessionContext, string>;
    readonly kernelChanged: ISignal<ISessionContext, unknown>;
    changeKernel(options: { name?: string }): Promise<Kernel.IKernelConnection | null>;
    shutdown(): Promise<void>;
  }
  export namespace Dialog {
    interface IButton {
      readonly accept: boolean;
    }
    function cancelButton(options?: { label?: string }): IButton;
    function okButton(options?: { label?: string }): IButton;
    function warnButton(options?: { label?: string }): IButton;
  }
  export function showDialog(options: {
    title: string;
    body: string;
    buttons: readonly Dialog.IButton[];
    defaultButton?: number;
  }): Promise<{ readonly button: Dialog.IButton }>;
  export class MainAreaWidget<T extends Widget = Widget> {
    constructor(options: { content: T });
    readonly content: T;
  }
  export interface MainAreaWidget<T extends Widget> extends Widget {}
}

declare module "@jupyterlab/rendermime" {
  import type { Widget } from "@lumino/widgets";
  export interface IMimeModel {
    readonly trusted: boolean;
    readonly data: Readonly<Record<string, unknown>>;
    readonly metadata: Readonly<Record<string, unknown>>;
  }
  export interface IRenderer extends Widget {
    renderModel(model: IMimeModel): Promise<void>;
  }
  export interface IRendererFactory {
    readonly safe: boolean;
    readonly mimeTypes: readonly string[];
    createRenderer(options: unknown): IRenderer;
  }
  export interface IRenderMimeRegistry {
    addFactory(factory: IRendererFactory, rank?: number): void;
    createRenderer(mimeType: string): IRenderer;
    readonly mimeTypes: readonly string[];
  }}

declare module "@jupyterlab/cells" {
  import type { IMimeModel } from "@jupyterlab/rendermime";
  import type { Widget } from "@lumino/widgets";
  export interface IOutputs {
    readonly length: number;
    get(index: number): IMimeModel & { toJSON(): Readonly<Record<string, unknown>> };
    set(index: number, output: Readonly<Record<string, unknown>>): void;
  }
  export interface ICellModel {
    readonly id: string;
    readonly type: string;
    readonly sharedModel: { getSource(): string };
    /** Of code cells. */
    readonly outputs?: IOutputs;
    readonly trusted: boolean;
  }
  export interface Cell extends Widget {
    readonly model: ICellModel;
    readonly ready: Promise<void>;
    /** Missing until the cell is drawn for the first time. */
    readonly inputArea: (Widget & { readonly editorWidget?: Widget }) | null;
  }
}

declare module "@jupyterlab/notebook" {
  import type { ISessionContext } from "@jupyterlab/apputils";
  import type { Cell } from "@jupyterlab/cells";
  import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
  import type { Token } from "@lumino/coreutils";
  import type { ISignal } from "@lumino/signaling";
  import type { Panel, Widget } from "@lumino/widgets";
  export interface Notebook extends Widget {
    activeCellIndex: number;
    readonly activeCell: Cell | null;
    readonly widgets: readonly Cell[];
    readonly rendermime: IRenderMimeRegistry;
    readonly modelContentChanged: ISignal<Notebook, void>;
    deselectAll(): void;
    scrollToItem?(index: number): Promise<void>;
  }
  export interface NotebookPanel extends Widget {
    readonly content: Notebook;
    readonly contentHeader: Panel;
    readonly context: {
      readonly path: string;
      readonly ready: Promise<void>;
      readonly pathChanged: ISignal<unknown, string>;
    };
    readonly sessionContext: ISessionContext;
  }
  export interface INotebookTracker {
    readonly currentWidget: NotebookPanel | null;
    readonly currentChanged: ISignal<INotebookTracker, NotebookPanel | null>;
    readonly widgetAdded: ISignal<INotebookTracker, NotebookPanel>;
    forEach(visit: (panel: NotebookPanel) => void): void;
    find(accept: (panel: NotebookPanel) => boolean): NotebookPanel | undefined;
  }
  export const INotebookTracker: Token<INotebookTracker>;
  export namespace NotebookActions {
    const executed: ISignal<unknown, { notebook: Notebook; cell: Cell; success: boolean }>;
    const executionScheduled: ISignal<unknown, { notebook: Notebook; cell: Cell }>;
    function run(notebook: Notebook, sessionContext: ISessionContext): Promise<boolean>;
    function runAllAbove(notebook: Notebook, sessionContext: ISessionContext): Promise<boolean>;
  }
}

declare module "@jupyterlab/filebrowser" {
  import type { Token } from "@lumino/coreutils";
  import type { ISignal } from "@lumino/signaling";
  export interface IDefaultFileBrowser {
    readonly model: { readonly path: string; readonly pathChanged: ISignal<unknown, unknown> };
  }
  export const IDefaultFileBrowser: Token<IDefaultFileBrowser>;
}

declare module "@jupyterlab/settingregistry" {
  import type { Token } from "@lumino/coreutils";
  import type { ISignal } from "@lumino/signaling";
  export interface ISettings {
    readonly composite: Readonly<Record<string, unknown>>;
    readonly changed: ISignal<ISettings, void>;
  }
  export interface ISettingRegistry {
    load(plugin: string): Promise<ISettings>;
  }
  export const ISettingRegistry: Token<ISettingRegistry>;
}

declare module "@jupyterlab/statusbar" {
  import type { Token } from "@lumino/coreutils";
  import type { Widget } from "@lumino/widgets";
  export interface IStatusBar {
    registerStatusItem(
      id: string,
      item: { item: Widget; align?: "left" | "middle" | "right"; rank?: number; isActive?: () => boolean },
    ): unknown;
  }
  export const IStatusBar: Token<IStatusBar>;
}

declare module "@jupyterlab/ui-components" {
  export class LabIcon {
    constructor(options: { name: string; svgstr: string });
  }
}

declare module "@jupyterlab/coreutils" {
  export namespace PageConfig {
    function getOption(name: string): string;
  }
}
