/**
 * comesBack is the rule of the close codes. 1001, 1005, 1006, 1011 and 1013 are what a broken connection, a proxy
 * or a fault of one node leaves behind, 1012 is a drain.
 */
export const comesBack = (code: number): boolean =>
  [1001, 1005, 1006, 1011, 1012, 1013].includes(code) || (code >= 4000 && code < 4500);

/** backoff is the delay before an attempt: full jitter between least and a bound that doubles up to most. */
export const backoff = (attempt: number, least: number, most: number): number =>
  Math.min(most, least + Math.random() * Math.min(most, least * 2 ** Math.min(attempt, 10)));
