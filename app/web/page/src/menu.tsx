// A button that opens a list of commands. Arrow keys move in it, Esc closes it, and the focus
// goes back to the button.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { arrows } from "./keys";

export interface MenuItem {
  readonly text: string;
  readonly act: () => void;
  readonly bad?: boolean;
}

interface Props {
  readonly label: string;
  readonly items: readonly MenuItem[];
  readonly class?: string;
  readonly children: ComponentChildren;
  readonly tabIndex?: number;
}

export function Menu({ label, items, children, tabIndex, class: className = "icon-button" }: Props) {
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);

  useLayoutEffect(() => {
    const [from, menu] = [button.current, list.current];
    if (!open || !from || !menu) return;
    menu.showPopover();
    place(menu, from.getBoundingClientRect());
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const toggled = (event: Event) => (event as ToggleEvent).newState === "closed" && setOpen(false);
    menu.addEventListener("toggle", toggled);
    return () => menu.removeEventListener("toggle", toggled);
  }, [open]);

  const choose = (item: MenuItem) => {
    setOpen(false);
    button.current?.focus();
    item.act();
  };

  if (!items.length) return <span class={className}>{children}</span>;
  return (
    <>
      <button
        ref={button}
        type="button"
        class={className}
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open}
        tabIndex={tabIndex}
        onClick={() => setOpen(!open)}
      >
        {children}
      </button>
      {open && (
        <div
          ref={list}
          class="menu"
          popover="auto"
          role="menu"
          aria-label={label}
          onKeyDown={(e) => arrows(e, "[role=menuitem]")}
        >
          {items.map((item) => (
            <button
              key={item.text}
              type="button"
              role="menuitem"
              tabIndex={-1}
              class={item.bad ? "bad" : ""}
              onClick={() => choose(item)}
            >
              {item.text}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

// place puts a menu below what opened it, or above where there is no room below.
function place(menu: HTMLElement, from: DOMRect): void {
  const { width, height } = menu.getBoundingClientRect();
  const below = from.bottom + 4;
  const top = below + height > innerHeight - 8 ? Math.max(8, from.top - height - 4) : below;
  menu.style.left = `${Math.max(8, Math.min(from.left, innerWidth - width - 8))}px`;
  menu.style.top = `${top}px`;
}
