// report tells of a listener's fault as the platform tells of an uncaught one, but ends no process.
const report = (error: unknown): void => (globalThis.reportError ?? console.error)(error);

/** Listeners by event. One that throws, or whose promise is rejected, is reported, and harms no other. */
export class Emitter<Events> {
  #listeners = new Map<keyof Events, Set<{ hear: (detail: never) => unknown }>>();

  on<E extends keyof Events>(event: E, hear: (detail: Events[E]) => unknown): () => void {
    const listener = { hear };
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  emit<E extends keyof Events>(event: E, detail: Events[E]): void {
    for (const { hear } of [...(this.#listeners.get(event) ?? [])]) {
      try {
        const result = hear(detail as never);
        if (result instanceof Promise) result.catch(report);
      } catch (error) {
        report(error);
      }
    }
  }
}
