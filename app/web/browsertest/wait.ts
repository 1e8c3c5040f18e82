// Long enough for a slow machine: nothing fails because it is slow, and what is there is
// seen at once.
export const PATIENCE = 20_000;

// until waits for something to be there (not undefined, null or false), and returns it.
export async function until<T>(
  what: string | (() => string),
  look: () => T | Promise<T>,
  patience = PATIENCE,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = Date.now() + patience;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== null && seen !== false) return seen as NonNullable<Exclude<T, false>>;
    if (Date.now() > deadline)
      throw new Error(`waited ${patience / 1000} s: ${typeof what === "string" ? what : what()}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}
