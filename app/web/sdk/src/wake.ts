// Moments at which the network may have changed, as browsers tell them. Elsewhere nothing is heard.

export interface Wakes {
  /** It may work again, or may have been lost unnoticed: the network is back, or the page is seen again. */
  awake(): void;
  /** There is no network. */
  offline(): void;
}

/** Watches for them until the returned function is called. */
export function watchWakes(wakes: Wakes): () => void {
  const page = typeof document === "undefined" ? undefined : document;
  if (typeof addEventListener === "undefined") return () => {};
  const awake = () => wakes.awake();
  const offline = () => wakes.offline();
  const seen = () => {
    if (!hidden()) wakes.awake();
  };
  addEventListener("online", awake);
  addEventListener("pageshow", awake);
  addEventListener("offline", offline);
  page?.addEventListener("visibilitychange", seen);
  page?.addEventListener("resume", awake);
  return () => {
    removeEventListener("online", awake);
    removeEventListener("pageshow", awake);
    removeEventListener("offline", offline);
    page?.removeEventListener("visibilitychange", seen);
    page?.removeEventListener("resume", awake);
  };
}

/** Whether nobody sees the page. */
export const hidden = (): boolean => typeof document !== "undefined" && document.hidden;
