// The page. Tests and assistive technology find its parts by these names, which stay:
//
//   navigation "Rooms"        textbox "Room", button "Open room"; regions "Rooms" and "Direct messages" with a
//                             button for each room (its name, "3 unread"), aria-current="page" on the open one,
//                             and button "Forget <room>"; button "You are <user> …";
//                             button "Dark theme" (pressed or not)
//   header                    button "Rooms" (on a phone), heading with the room's name, buttons "Who is here: 2",
//                             "Friends…" and "Notifications…", button "This room": a menu with "Copy the link",
//                             "Title and topic…", "Leave the room", "Leave and forget"
//   region "Messages, scrollable", in it log "Messages": an article for each message, labelled "<user>, <time>",
//                             data-testid="message" with data-state="pending|sent|failed" and data-mine, its words in
//                             data-testid="text"; when pointed at or focused a group "Actions" with buttons "Reply",
//                             "Edit", "Delete"; a failed one has "Retry" and "Discard"; data-testid="gap" (with button
//                             "Load what is there"), "reset", "moved" and "unread" for what stands between them
//   textbox "Message", button "Send" ("Save" while editing), button "Cancel"; listbox "People to mention"
//   complementary             "Who is here" (data-testid="people"), "Friends" (textbox "Ask to be friends", button "Ask",
//                             data-testid="friend" with data-state and data-status, "Accept", "Decline",
//                             "<user>: what to do") or "Notifications"
//   dialogs                   "You" or "Who are you?" (textboxes "Name" and "Token", comboboxes "Status" and
//                             "Connection", button "Connect"); questions with "Cancel" and what is to be done
//   footer                    status "Connected", "Connecting", "Reconnecting" or "Not connected"; data-testid="dot" with
//                             data-state="joined|connecting|waiting|closed"; data-testid="served" (the nodes),
//                             "position", "transport"
//   data-testid="connection"  what is said while the connection is gone, with button "Retry now" or "Connect again";
//                             "typing", "toast", "announcement"

import { useEffect } from "preact/hooks";
import { Composer } from "./composer";
import { ConnectionNotice, Footer } from "./connection";
import { Question } from "./dialog";
import { NoRoom } from "./empty";
import { Header } from "./header";
import { Messages } from "./messages";
import { label } from "./names";
import { Panel } from "./panel";
import { Sidebar } from "./sidebar";
import { SignIn } from "./sign-in";
import { unreadElsewhere } from "./state";
import { useApp, useClient } from "./store";
import { Banner, Toasts } from "./toasts";

export function App() {
  const client = useClient();
  const room = useApp((state) => state.open);
  const panel = useApp((state) => state.panel !== null);
  const drawer = useApp((state) => state.drawer);
  useTitle();
  return (
    <div class={`app${panel ? " with-panel" : ""}`}>
      <button type="button" class="skip" onClick={() => document.getElementById("say")?.focus()}>
        Skip to writing
      </button>
      <Banner />
      <Sidebar />
      {drawer && (
        <button type="button" class="shade" aria-label="Close the rooms" onClick={() => client.escape()} />
      )}
      {panel && (
        <button
          type="button"
          class="shade beside"
          tabIndex={-1}
          aria-hidden="true"
          onClick={() => client.escape()}
        />
      )}
      <main class="talk" aria-label="Conversation">
        <Header room={room} />
        <ConnectionNotice />
        <Toasts />
        {room ? (
          <>
            <Messages key={room.name} room={room} />
            <Typing users={room.typists} />
            {!room.refused && <Composer room={room} />}
          </>
        ) : (
          <NoRoom />
        )}
      </main>
      <Panel />
      <Footer />
      <SignIn />
      <Question />
    </div>
  );
}

function Typing({ users }: { users: readonly string[] }) {
  const [first, second] = users;
  return (
    <p class="typing" aria-live="polite" data-testid="typing">
      {users.length > 2 && `${users.length} people are writing…`}
      {users.length <= 2 && first !== undefined && <bdi>{first}</bdi>}
      {users.length === 2 && second !== undefined && (
        <>
          {" and "}
          <bdi>{second}</bdi>
        </>
      )}
      {users.length === 1 && " is writing…"}
      {users.length === 2 && " are writing…"}
    </p>
  );
}

function useTitle(): void {
  const unread = useApp((state) => unreadElsewhere(state) + (state.open?.fresh ?? 0));
  const room = useApp((state) => (state.open ? label(state.open.name, state.me.user) : ""));
  useEffect(() => {
    document.title = [unread ? `(${unread})` : "", room, room && "·", "chatring"].filter(Boolean).join(" ");
  }, [unread, room]);
}
