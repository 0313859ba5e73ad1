/** The settings of `schema/plugin.json`, with their defaults where no registry is there. */

import type { ISettingRegistry, ISettings } from "@jupyterlab/settingregistry";

const DEFAULTS = { pollInterval: 300, badge: true, banner: true, sidebar: true, statusBar: true };
type Values = typeof DEFAULTS;

export class Settings {
  private loaded: ISettings | null = null;

  /** `changed` is called after each change by the user. */
  async load(registry: ISettingRegistry | null, plugin: string, changed: () => void): Promise<void> {
    if (!registry) return;
    try {
      this.loaded = await registry.load(plugin);
    } catch (error) {
      console.warn("durable-nb: settings could not be read, the defaults are used", error);
      return;
    }
    this.loaded.changed.connect(changed);
    changed();
  }

  get<Name extends keyof Values>(name: Name): Values[Name] {
    return (this.loaded?.composite[name] as Values[Name] | undefined) ?? DEFAULTS[name];
  }
}
