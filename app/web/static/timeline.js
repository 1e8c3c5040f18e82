// A room's messages in the order of their positions, each once. It knows
// neither the page nor the wire.

import { compare } from "./wire.js";

// A Timeline holds items: messages, drafts (messages without a position yet,
// after all others) and marks (notes that stand after a position).
export class Timeline {
  items = []; // with a position, in order
  drafts = []; // without one, in the order of sending
  #byPosition = new Map();
  #byKey = new Map(); // sender and key → the newest item of that name

  // add takes a message as it was pushed, and returns {item, added}. It is not
  // added when it stands here already, which a draft of ours then learns. After
  // a reset another message may have its position; then both stand here.
  add(message) {
    const here = this.#byPosition.get(message.pos);
    if (here && name(here) === name(message)) {
      Object.assign(here, message);
      return { item: here, added: false };
    }
    const known = this.#byKey.get(name(message));
    if (known && !known.pos) {
      this.settle(known, message.pos);
      Object.assign(known, message);
      return { item: known, added: false };
    }
    // After a reset a message may come again, in another epoch.
    if (known && epoch(known.pos) !== epoch(message.pos)) return { item: known, added: false };
    const item = { ...message };
    this.#keep(item);
    return { item, added: true };
  }

  // draft takes a message of ours that is on its way.
  draft(message) {
    const item = { ...message };
    this.drafts.push(item);
    this.#byKey.set(name(item), item);
    return item;
  }

  // settle gives a draft its position; a draft whose message stands here
  // already leaves without one.
  settle(item, pos) {
    if (item.pos) return;
    this.drop(item);
    if (this.#byPosition.has(pos)) return;
    item.pos = pos;
    this.#keep(item);
  }

  // mark puts a note after a position.
  mark(note) {
    const item = { ...note, mark: true };
    this.#insert(item);
    return item;
  }

  // drop takes an item out.
  drop(item) {
    for (const list of [this.items, this.drafts]) {
      const index = list.indexOf(item);
      if (index >= 0) list.splice(index, 1);
    }
    if (item.mark) return;
    if (this.#byPosition.get(item.pos) === item) this.#byPosition.delete(item.pos);
    if (this.#byKey.get(name(item)) === item) this.#byKey.delete(name(item));
  }

  find(from, key) {
    return this.#byKey.get(name({ from, key }));
  }

  // after is the item that follows another one, or undefined.
  after(item) {
    const index = this.items.indexOf(item);
    if (index >= 0) return this.items[index + 1] ?? this.drafts[0];
    return this.drafts[this.drafts.indexOf(item) + 1];
  }

  // oldest is the position of the oldest message, or undefined.
  get oldest() {
    return this.items.find((item) => !item.mark)?.pos;
  }

  #keep(item) {
    this.#byPosition.set(item.pos, item);
    this.#byKey.set(name(item), item);
    this.#insert(item);
  }

  #insert(item) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order(this.items[middle], item) <= 0) low = middle + 1;
      else high = middle;
    }
    this.items.splice(low, 0, item);
  }
}

// A mark stands after the message of the same position.
const order = (a, b) => compare(a.pos, b.pos) || Boolean(a.mark) - Boolean(b.mark);
const name = ({ from, key }) => `${from} ${key}`;
const epoch = (position) => position.split("-")[0];
