// memo draws a component again only when one of its properties is another value, or, for the
// property row, another row: those are made anew each time, of the same parts.

import { Component, type ComponentChild, type FunctionComponent, h } from "preact";

const same = (a: object, b: object): boolean => {
  const [x, y] = [Object.entries(a), b as Record<string, unknown>];
  return x.length === Object.keys(b).length && x.every(([key, value]) => Object.is(value, y[key]));
};

export function memo<P extends { row: object }>(draw: FunctionComponent<P>): FunctionComponent<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const { row, ...rest } = this.props;
      const { row: nextRow, ...nextRest } = next;
      return !same(row, nextRow) || !same(rest, nextRest);
    }
    override render(): ComponentChild {
      return h(draw, this.props as P & { key?: never });
    }
  } as unknown as FunctionComponent<P>;
}
