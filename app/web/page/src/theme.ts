// Dark or light: as the system has it, until the reader chooses otherwise.

import { browser } from "./storage";

const system = matchMedia("(prefers-color-scheme: dark)");

const chosen = () => browser.get("theme");

export const isDark = (): boolean => (chosen() ?? (system.matches ? "dark" : "light")) === "dark";

export function applyTheme(): void {
  const theme = chosen();
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

// setDark forgets a choice that is the system's, too.
export function setDark(dark: boolean): void {
  browser.set("theme", dark === system.matches ? null : dark ? "dark" : "light");
  applyTheme();
}
