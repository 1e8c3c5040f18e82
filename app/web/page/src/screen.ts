// Whether the panel has a place of its own; else it lies over the messages.

export const WIDE = matchMedia("(min-width: 1100px)");
