// One row among the messages. What people wrote goes in as text, never as markup, and isolated
// from the text around it.

import { Icon } from "./icons";
import { bareTime, dayOf, exactly, timeOf } from "./look";
import { memo } from "./memo";
import { Menu } from "./menu";
import { Avatar, Name, usePersonMenu } from "./person";
import { offset } from "./position";
import type { Row } from "./rows";
import { useApp, useClient } from "./store";
import { gist, pieces, sentence, textOf } from "./text";
import { type Draft, type Entry, find, type Mark } from "./timeline";

interface Props {
  readonly row: Row;
  readonly me: string;
  readonly active: boolean;
}

export const MessageRow = memo(function MessageRow({ row, me, active }: Props) {
  switch (row.kind) {
    case "day":
      return (
        <div class="day">
          <span>{dayOf(row.ts)}</span>
        </div>
      );
    case "unread":
      return (
        <div class="new" data-id={row.id} data-testid="unread">
          <span>New</span>
        </div>
      );
    case "mark":
      return <MarkRow mark={row.mark} />;
    case "entry":
      return <EntryRow entry={row.entry} headless={row.headless} me={me} active={active} />;
    case "draft":
      return <DraftRow draft={row.draft} headless={row.headless} />;
  }
});

function MarkRow({ mark }: { mark: Mark }) {
  const client = useClient();
  return (
    <div class={`mark ${mark.kind}`} data-testid={mark.kind}>
      <span>
        {mark.text}
        {mark.before !== undefined && (
          <button type="button" class="text-button" onClick={() => client.conversation?.pages.fill(mark)}>
            Load what is there
          </button>
        )}
      </span>
    </div>
  );
}

function EntryRow({
  entry,
  headless,
  me,
  active,
}: {
  entry: Entry;
  headless: boolean;
  me: string;
  active: boolean;
}) {
  const mine = entry.from === me;
  const named = entry.mentions?.includes(me);
  const className = `row${headless ? " headless" : ""}${named ? " named" : ""}`;
  return (
    <article
      class={className}
      tabIndex={-1}
      data-id={`${entry.from} ${entry.key}`}
      data-testid="message"
      data-state="sent"
      data-mine={mine || undefined}
      aria-label={`${entry.from}, ${timeOf(entry.ts)}`}
    >
      <Head user={entry.from} ts={entry.ts} headless={headless} />
      <div class="what">
        {entry.replyTo && <Quote of={entry.replyTo} />}
        <Words entry={entry} me={me} />
      </div>
      <span class="fate" aria-hidden="true" title={`${exactly(entry.ts)}\nposition ${entry.pos}`}>
        {mine && <Icon name="check" size={13} />}#{offset(entry.pos)}
      </span>
      {active && !entry.deleted && <Actions entry={entry} mine={mine} />}
    </article>
  );
}

function Head({ user, ts, headless }: { user: string; ts: number; headless: boolean }) {
  const menu = usePersonMenu(user);
  if (headless)
    return (
      <time class="gutter" dateTime={new Date(ts).toISOString()}>
        {bareTime(ts)}
      </time>
    );
  return (
    <>
      <Avatar user={user} />
      <div class="by">
        <Menu label={`${user}: what to do`} class="by-name" items={menu} tabIndex={-1}>
          <Name user={user} />
        </Menu>
        <time dateTime={new Date(ts).toISOString()} title={exactly(ts)}>
          {timeOf(ts)}
        </time>
      </div>
    </>
  );
}

function Quote({ of }: { of: NonNullable<Entry["replyTo"]> }) {
  const client = useClient();
  const quoted = useApp((state) => state.open && find(state.open.timeline, of));
  const text = quoted ? (quoted.deleted ? "deleted" : gist(quoted.data)) : "an earlier message";
  return (
    <button
      type="button"
      class="quote"
      tabIndex={-1}
      aria-label={`Go to the message of ${of.from}: ${text}`}
      onClick={() => client.conversation?.pages.show(of)}
    >
      <Name user={of.from} />
      <span>{text}</span>
    </button>
  );
}

function Words({ entry, me }: { entry: Entry; me: string }) {
  if (entry.deleted)
    return (
      <span class="text gone" data-testid="text">
        deleted
      </span>
    );
  return (
    <>
      <Text data={entry.data} mentions={entry.mentions} me={me} />
      {entry.edited && <span class="edited">edited</span>}
    </>
  );
}

function Text({ data, mentions, me }: { data: unknown; mentions?: readonly string[]; me: string }) {
  const text = textOf(data);
  if (text === undefined)
    return (
      <code class="text code" data-testid="text">
        {JSON.stringify(data, null, 2)}
      </code>
    );
  return (
    <span class="text" dir="auto" data-testid="text">
      {pieces(text, mentions).map((piece) => {
        if (piece.kind === "text") return piece.text;
        if (piece.kind === "mention")
          return <bdi class={piece.user === me ? "mention me" : "mention"}>{piece.text}</bdi>;
        return (
          <a href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        );
      })}
    </span>
  );
}

function Actions({ entry, mine }: { entry: Entry; mine: boolean }) {
  const client = useClient();
  const remove = () =>
    client.ask({
      title: "Delete this message?",
      text: "Everybody in the room sees that something was deleted here, and no longer what it was.",
      verb: "Delete",
      act: () => client.conversation?.remove(entry),
    });
  const compose = (act: () => void) => {
    act();
    document.getElementById("say")?.focus();
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of buttons, not of fields
    <div class="actions" role="group" aria-label="Actions">
      <button
        type="button"
        aria-label="Reply"
        title="Reply"
        onClick={() => compose(() => client.conversation?.answer(entry))}
      >
        <Icon name="reply" size={16} />
      </button>
      {mine && textOf(entry.data) !== undefined && (
        <button
          type="button"
          aria-label="Edit"
          title="Edit"
          onClick={() => compose(() => client.conversation?.beginEdit(entry))}
        >
          <Icon name="edit" size={16} />
        </button>
      )}
      {mine && (
        <button type="button" aria-label="Delete" title="Delete" onClick={remove}>
          <Icon name="trash" size={16} />
        </button>
      )}
    </div>
  );
}

function DraftRow({ draft, headless }: { draft: Draft; headless: boolean }) {
  const client = useClient();
  const { state } = draft;
  const failed = state === "failed";
  return (
    <article
      class={`row ${state}${headless ? " headless" : ""}`}
      data-id={`${draft.from} ${draft.key}`}
      data-testid="message"
      data-state={failed ? "failed" : "pending"}
      data-mine
    >
      <Head user={draft.from} ts={draft.ts} headless={headless} />
      <div class="what">
        <Text data={draft.data} mentions={draft.mentions} me={draft.from} />
        {failed && (
          <p class="trouble" role="alert">
            Not sent: {sentence(draft.error)}
            <button type="button" class="text-button" onClick={() => client.conversation?.retry(draft)}>
              Retry
            </button>
            <button type="button" class="text-button" onClick={() => client.conversation?.discard(draft)}>
              Discard
            </button>
          </p>
        )}
      </div>
      {!failed && <span class="fate">{state === "sent" ? <Icon name="check" size={13} /> : "sending…"}</span>}
    </article>
  );
}
