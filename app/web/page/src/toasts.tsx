// What happens elsewhere, said in passing: a screen reader says it when it has nothing else to
// say, and it goes by itself unless the reader is at it.

import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icons";
import { Avatar } from "./person";
import type { Toast } from "./state";
import { useApp, useClient } from "./store";

const SHOWN_MS = 7_000;

export function Toasts() {
  const toasts = useApp((state) => state.toasts);
  return (
    <div class="toasts-place">
      <div class="toasts" role="status" aria-label="News">
        {toasts.map((toast) => (
          <ToastCard key={toast.id} toast={toast} />
        ))}
      </div>
    </div>
  );
}

function ToastCard({ toast }: { toast: Toast }) {
  const client = useClient();
  const [held, hold] = useState(false);
  useEffect(() => {
    if (held) return;
    const timer = setTimeout(() => client.dismiss(toast.id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [client, held, toast]);
  const follow = () => {
    client.dismiss(toast.id);
    client.follow(toast.open);
  };
  const words = (
    <>
      <b dir="auto">{toast.title}</b> <span dir="auto">{toast.text}</span>
    </>
  );
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it only stays while the pointer is on it
    <div
      class={`toast${toast.bad ? " bad" : ""}`}
      data-testid="toast"
      onMouseEnter={() => hold(true)}
      onMouseLeave={() => hold(false)}
      onFocusCapture={() => hold(true)}
      onBlurCapture={() => hold(false)}
    >
      {toast.open && <Avatar user={toast.title} size="small" />}
      {toast.open ? (
        <button type="button" class="toast-words" onClick={follow}>
          {words}
        </button>
      ) : (
        <p class="toast-words">{words}</p>
      )}
      <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => client.dismiss(toast.id)}>
        <Icon name="close" size={15} />
      </button>
    </div>
  );
}

// Banner is what a service tells everybody.
export function Banner() {
  const client = useClient();
  const announcement = useApp((state) => state.announcement);
  return (
    <div class="banner-place" role="status" aria-label="Announcement">
      {announcement && (
        <div class="banner" data-testid="announcement">
          <Icon name="bell" />
          <span dir="auto">
            <b>{announcement.from.replace(/^service:/, "")}</b> {announcement.text}
          </span>
          <button
            type="button"
            class="icon-button"
            aria-label="Dismiss"
            onClick={() => client.store.set({ announcement: null })}
          >
            <Icon name="close" size={16} />
          </button>
        </div>
      )}
    </div>
  );
}
