// A Store holds one immutable state. Whoever changes it hands in a function from the state to
// the next one; components see the part that they select.

import { createContext } from "preact";
import { useContext, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Client } from "./client";
import type { State } from "./state";

export class Store<S> {
  #state: S;
  readonly #listeners = new Set<() => void>();

  constructor(initial: S) {
    this.#state = initial;
  }

  get state(): S {
    return this.#state;
  }

  update(change: (state: S) => S): void {
    const next = change(this.#state);
    if (next === this.#state) return;
    this.#state = next;
    for (const listener of [...this.#listeners]) listener();
  }

  set(part: Partial<S>): void {
    this.update((state) => ({ ...state, ...part }));
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const Context = createContext<Client>(undefined as never);
export const ClientProvider = Context.Provider;

// useClient is what the page can do.
export const useClient = (): Client => useContext(Context);

// useApp is the part of the state that select picks; the component is drawn again when that
// part is another one.
export function useApp<T>(select: (state: State) => T): T {
  const { store } = useClient();
  const [, redraw] = useState({});
  const part = select(store.state);
  const shown = useRef(part);
  const pick = useRef(select);
  shown.current = part;
  pick.current = select;
  useLayoutEffect(() => {
    const look = () => Object.is(pick.current(store.state), shown.current) || redraw({});
    look();
    return store.listen(look);
  }, [store]);
  return part;
}
