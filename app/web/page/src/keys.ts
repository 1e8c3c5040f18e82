// arrows moves the focus among the elements of a list: up, down, to its ends.
export function arrows(event: KeyboardEvent, selector: string): boolean {
  const list = event.currentTarget as HTMLElement;
  const all = [...list.querySelectorAll<HTMLElement>(selector)];
  const at = all.findIndex((element) => element.contains(document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? all.length - 1 : at - 1, Home: 0, End: all.length - 1 }[
    event.key
  ];
  if (to === undefined || !all.length) return false;
  event.preventDefault();
  all[Math.max(0, Math.min(all.length - 1, to))]?.focus();
  return true;
}
