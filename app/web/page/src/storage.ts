// What the page remembers: in this tab (a token, what was not answered yet), or in this
// browser (a chosen name, the theme). Storage may be forbidden; the page then forgets.

const area = (name: "sessionStorage" | "localStorage") => ({
  get(key: string): string | null {
    try {
      return window[name].getItem(`chatring.${key}`);
    } catch {
      return null;
    }
  },
  set(key: string, value: string | null): void {
    try {
      if (value === null) window[name].removeItem(`chatring.${key}`);
      else window[name].setItem(`chatring.${key}`, value);
    } catch {
      // forgotten
    }
  },
});

export const tab = area("sessionStorage");
export const browser = area("localStorage");
