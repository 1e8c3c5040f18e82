// Where one writes: a message, an answer, or another text for what was said.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "./icons";
import { bytes } from "./names";
import { Avatar, Name } from "./person";
import type { OpenRoom } from "./room-state";
import { tab } from "./storage";
import { useApp, useClient } from "./store";
import { gist, half, mentionsIn, textOf } from "./text";

const MESSAGE_BYTES = 15_000; // a frame may have 16 KiB
const SUGGESTED = 6;

// What was begun in each room, until it is said.
const begun = {
  get: (room: string) => tab.get(`begun ${room}`) ?? "",
  set: (room: string, text: string) => tab.set(`begun ${room}`, text || null),
};

export function Composer({ room }: { room: OpenRoom }) {
  const client = useClient();
  const me = useApp((state) => state.me.user);
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const people = usePeople(room, me);
  const suggestions = useSuggestions(text, people);
  const { editing, answering } = room;

  useLayoutEffect(() => {
    setText((editing ? textOf(editing.data) : begun.get(room.name)) ?? "");
    if (matchMedia("(hover: hover)").matches) field.current?.focus(); // a phone would show its keyboard
  }, [room.name, editing]);
  useLayoutEffect(() => {
    const here = field.current as HTMLTextAreaElement;
    here.style.height = "auto";
    here.style.height = `${here.scrollHeight + 2}px`;
  }, [text]);

  const write = (next: string) => {
    setText(next);
    setProblem("");
    if (editing) return;
    begun.set(room.name, next);
    client.conversation?.typing(next !== "");
  };

  const submit = (event?: Event) => {
    event?.preventDefault();
    const words = (field.current?.value ?? "").trim();
    if (!words) return;
    if (bytes(JSON.stringify(words)) > MESSAGE_BYTES) return setProblem("This is too long for one message.");
    if (editing) return client.conversation?.edit(editing, words);
    client.conversation?.send(words, mentionsIn(words, people));
    begun.set(room.name, "");
    setText("");
    (field.current as HTMLTextAreaElement).value = "";
  };

  const cancel = () => {
    if (editing) client.conversation?.beginEdit(undefined);
    if (answering) client.conversation?.answer(undefined);
  };

  const editLast = () => {
    const last = room.timeline.entries.filter((entry) => entry.from === me && !entry.deleted).at(-1);
    if (last && textOf(last.data) !== undefined) client.conversation?.beginEdit(last);
  };

  const keyed = (event: KeyboardEvent) => {
    if (event.isComposing || suggestions.keyed(event, complete)) return;
    if (event.key === "Escape") cancel();
    if (event.key === "ArrowUp" && !text && !editing) {
      event.preventDefault();
      editLast();
    }
    if (event.key === "Enter" && !event.shiftKey) submit(event);
  };

  const complete = (user: string) => {
    write(`${text.slice(0, text.length - (half(text)?.length ?? 0))}${user} `);
    field.current?.focus();
  };

  return (
    <form class="composer" onSubmit={submit}>
      {answering && (
        <Bar text="Replying to" user={answering.from} words={gist(answering.data)} cancel={cancel} />
      )}
      {editing && <Bar text="Editing" words={gist(editing.data)} cancel={cancel} />}
      <Suggestions {...suggestions} choose={complete} />
      {problem && (
        <p class="trouble" role="alert">
          {problem}
        </p>
      )}
      <div class="write">
        <label class="unseen" for="say">
          Message
        </label>
        <textarea
          id="say"
          ref={field}
          rows={1}
          value={text}
          placeholder="Message"
          aria-describedby="say-help"
          aria-autocomplete="list"
          aria-controls={suggestions.users.length ? "mentions" : undefined}
          aria-activedescendant={suggestions.users.length ? `mention-${suggestions.at}` : undefined}
          enterkeyhint="send"
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={keyed}
        />
        <span class="unseen" id="say-help">
          Enter sends, Shift and Enter begins a line, @ names somebody, the up arrow edits your last message.
        </span>
        <button type="submit" class="send" aria-label={editing ? "Save" : "Send"} disabled={!text.trim()}>
          <Icon name={editing ? "check" : "send"} size={20} />
        </button>
      </div>
    </form>
  );
}

function Bar({
  text,
  user,
  words,
  cancel,
}: {
  text: string;
  user?: string;
  words: string;
  cancel: () => void;
}) {
  return (
    <div class="writing-about">
      <span>
        {text} {user && <Name user={user} />} <i dir="auto">{words}</i>
      </span>
      <button type="button" class="icon-button" aria-label="Cancel" title="Cancel (Esc)" onClick={cancel}>
        <Icon name="close" size={15} />
      </button>
    </div>
  );
}

// usePeople are those who can be named: who is here, who has said something, friends.
function usePeople(room: OpenRoom, me: string): string[] {
  const friends = useApp((state) => state.friends);
  const { entries } = room.timeline;
  const users = room.presence?.users;
  return useMemo(() => {
    const here = (users ?? []).map(({ user }) => user);
    const all = [...here, ...entries.map(({ from }) => from), ...(friends ?? []).map(({ user }) => user)];
    return [...new Set(all)].filter((user) => user !== me);
  }, [users, entries, friends, me]);
}

interface Suggested {
  readonly users: string[];
  readonly at: number;
  readonly keyed: (event: KeyboardEvent, choose: (user: string) => void) => boolean;
}

// useSuggestions offers names while one is being typed behind an @.
function useSuggestions(text: string, people: readonly string[]): Suggested {
  const [at, setAt] = useState(0);
  const [closed, setClosed] = useState("");
  const begin = half(text)?.toLowerCase();
  const fit =
    begin === undefined || closed === text
      ? []
      : people.filter((user) => user.toLowerCase().startsWith(begin));
  const users = fit.length === 1 && fit[0] === half(text) ? [] : fit.slice(0, SUGGESTED);
  const now = Math.min(at, users.length - 1);
  return {
    users,
    at: now,
    keyed(event, choose) {
      const chosen = users[now];
      if (chosen === undefined || event.shiftKey) return false;
      if (event.key === "ArrowDown") setAt((now + 1) % users.length);
      else if (event.key === "ArrowUp") setAt((now + users.length - 1) % users.length);
      else if (event.key === "Escape") setClosed(text);
      else if (event.key === "Tab" || (event.key === "Enter" && begin !== chosen.toLowerCase()))
        choose(chosen);
      else return false;
      event.preventDefault();
      return true;
    },
  };
}

function Suggestions({ users, at, choose }: Suggested & { choose: (user: string) => void }) {
  if (!users.length) return null;
  return (
    <div class="suggestions" id="mentions" role="listbox" aria-label="People to mention">
      {users.map((user, i) => (
        // biome-ignore lint/a11y/useKeyWithClickEvents: the keys go to the field
        // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the field
        <div
          key={user}
          id={`mention-${i}`}
          role="option"
          aria-selected={i === at}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => choose(user)}
        >
          <Avatar user={user} size="small" />
          <Name user={user} />
        </div>
      ))}
    </div>
  );
}
