// What notifications say.

import type { Message } from "../../sdk/src";
import { label } from "./names";
import { noticeType, type Toast } from "./state";
import { gist, textOf } from "./text";

type Fields = { room?: string; pos?: string; from?: string; data?: unknown };

// said is what a service tells, in a line.
export function said(data: unknown): string {
  const { title, text } = (data ?? {}) as { title?: unknown; text?: unknown };
  const parts = [title, text].filter((part) => typeof part === "string");
  return parts.length ? gist(parts.join(": ")) : gist(data);
}

export interface NoticeText {
  readonly who: string;
  readonly text: string;
}

export function noticeText(notice: Message): NoticeText {
  const { room = "", from = "", data } = notice.data as Fields;
  switch (noticeType(notice)) {
    case "direct":
      return { who: from, text: "wrote to you" };
    case "mention":
      return { who: from, text: `mentioned you in ${label(room, "")}` };
    case "friend_request":
      return { who: from, text: "asks to be your friend" };
    case "friend_accepted":
      return { who: from, text: "is your friend now" };
    case "notification":
      return { who: notice.from.replace(/^service:/, ""), text: said(data ?? notice.data) };
    default:
      return { who: notice.from, text: textOf(notice.data) ?? gist(notice.data) };
  }
}

// leadsTo is what a notification opens.
export function leadsTo(notice: Message): Toast["open"] {
  const { room, pos } = notice.data as Fields;
  switch (noticeType(notice)) {
    case "direct":
      return { room };
    case "mention":
      return { room, pos };
    case "friend_request":
    case "friend_accepted":
      return { panel: "friends" };
    default:
      return { panel: "notifications" };
  }
}

export function noticeToast(notice: Message): Toast {
  const { who, text } = noticeText(notice);
  const { room } = notice.data as Fields;
  const id = noticeType(notice) === "direct" ? `direct ${room}` : notice.pos;
  return { id, title: who, text, open: leadsTo(notice) };
}
