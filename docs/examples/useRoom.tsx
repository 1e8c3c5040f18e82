import type { Chat, Message, Pending, Ref, Room } from "chatring";
import { useSyncExternalStore } from "react";

interface View {
  state: "left" | "joining" | "joined";
  messages: (Message & { afterGap?: boolean })[]; // the last 500, in order
  pending: Pending[]; // own ones that are not among the messages yet
}

/** What is said in a room, for as long as a component shows it. */
export function useRoom(chat: Chat, name: string) {
  const room = chat.room(name);
  const { subscribe, view } = storeOf(room);
  return { ...useSyncExternalStore(subscribe, view, view), send: (text: string) => room.send(text) };
}

// Components that show the same room share one store.
const stores = new WeakMap<Room, ReturnType<typeof createStore>>();
function storeOf(room: Room) {
  const store = stores.get(room) ?? createStore(room);
  stores.set(room, store);
  return store;
}

function createStore(room: Room) {
  const listeners = new Set<() => void>();
  let view: View = { state: room.state, messages: [], pending: [] };
  let stop: (() => void) | undefined;

  const set = (change: Partial<View>) => {
    view = { ...view, ...change };
    for (const listener of listeners) listener();
  };
  const replace = (ref: Ref, change: Partial<Message>) =>
    set({ messages: view.messages.map((m) => (nameOf(m) === nameOf(ref) ? { ...m, ...change } : m)) });
  let afterGap = false;
  const add = (message: Message) => {
    set({ messages: [...view.messages, { ...message, afterGap }].slice(-500), pending: room.pending });
    afterGap = false;
  };

  function start() {
    const off = [
      room.on("state", ({ state }) => set({ state })),
      room.on("message", add),
      room.on("change", ({ target, data }) => replace(target, { data })),
      room.on("moved", (ref) => replace(ref, { pos: ref.pos })),
      room.on("gap", () => {
        afterGap = true;
      }),
      room.on("pending", () => set({ pending: room.pending })),
    ];
    room.join().catch((error) => console.error(`${room.name}: ${error.message}`));
    return () => {
      for (const each of off) each();
      room.leave();
    };
  }

  function leaveIfAlone() {
    if (listeners.size) return;
    stop?.();
    stop = undefined;
  }

  return {
    view: () => view,
    subscribe(listener: () => void) {
      listeners.add(listener);
      stop ??= start();
      return () => {
        listeners.delete(listener);
        queueMicrotask(leaveIfAlone); // a component that is back at once, as in strict mode, stays
      };
    },
  };
}

export function RoomView({ chat, name }: { chat: Chat; name: string }) {
  const { state, messages, pending, send } = useRoom(chat, name);
  const say = (form: FormData) => void send(String(form.get("text"))).catch(() => {}); // it stays in pending
  return (
    <section aria-busy={state !== "joined"}>
      <ul>
        {messages.map((message) => (
          <li key={nameOf(message)}>
            {message.afterGap && <em>Messages are missing here. </em>}
            {message.from}: {textOf(message.data)}
          </li>
        ))}
        {pending.map(({ key, data }) => (
          <li key={key}>
            <i>{textOf(data)}</i>
          </li>
        ))}
      </ul>
      <form action={say}>
        <input name="text" aria-label="Message" />
      </form>
    </section>
  );
}

const nameOf = ({ from, key, ts }: Ref) => `${from} ${key} ${ts}`; // positions may change, these do not
const textOf = (data: unknown) => (data as { text?: string } | null)?.text ?? "(deleted)";
