// Dialogs, as browsers have them: they keep the focus inside, close by Esc, and give the focus
// back to what opened them.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "./icons";
import { useApp, useClient } from "./store";

interface Props {
  readonly title: string;
  readonly close: () => void;
  readonly children: ComponentChildren;
}

export function Dialog({ title, close, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const here = dialog.current;
    if (!here?.open) here?.showModal();
    return () => here?.close();
  }, []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="dialog-title" onClose={close}>
      <header>
        <h2 id="dialog-title">{title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick={close}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </dialog>
  );
}

// Question is asked before something is done that cannot be taken back.
export function Question() {
  const client = useClient();
  const ask = useApp((state) => state.ask);
  if (!ask) return null;
  const close = () => client.ask(null);
  const yes = () => {
    close();
    ask.act();
  };
  return (
    <Dialog title={ask.title} close={close}>
      <p>{ask.text}</p>
      <div class="choices">
        <button type="button" class="button" autofocus onClick={close}>
          Cancel
        </button>
        <button type="button" class="button bad" onClick={yes}>
          {ask.verb}
        </button>
      </div>
    </Dialog>
  );
}
