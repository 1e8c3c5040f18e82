// The side of the page: its name, the rooms, and who the user is.

import { useState } from "preact/hooks";
import { Icon, RING } from "./icons";
import { Avatar, Name } from "./person";
import { OpenRoomForm, RoomLists } from "./rooms";
import { useApp, useClient } from "./store";
import { isDark, setDark } from "./theme";

export function Sidebar() {
  const drawer = useApp((state) => state.drawer);
  return (
    <nav class={`side${drawer ? " shown" : ""}`} id="rooms" aria-label="Rooms">
      <p class="brand">
        <img src={RING} alt="" width="24" height="24" /> chatring
      </p>
      <OpenRoomForm />
      <RoomLists />
      <Myself />
    </nav>
  );
}

function Myself() {
  const client = useClient();
  const user = useApp((state) => state.me.user);
  const friends = useApp((state) => state.friends !== null);
  const away = useApp((state) => state.away);
  const connected = useApp((state) => state.link.state === "connected");
  const status = !connected ? "offline" : away ? "away" : "online";
  const words = { online: "Online", away: "Away", offline: "Not connected" }[status];
  return (
    <div class="myself">
      <Avatar user={user} status={friends ? status : undefined} />
      <button type="button" class="who" onClick={() => client.store.set({ signIn: "" })}>
        <span class="unseen">You are </span>
        <Name user={user} />
        <span class="note">{friends ? words : "Name and settings"}</span>
        {friends && <span class="unseen">, name and settings</span>}
      </button>
      <ThemeSwitch />
    </div>
  );
}

function ThemeSwitch() {
  const [dark, show] = useState(isDark());
  const turn = () => {
    setDark(!dark);
    show(!dark);
  };
  return (
    <button type="button" class="icon-button" aria-label="Dark theme" aria-pressed={dark} onClick={turn}>
      <Icon name={dark ? "sun" : "moon"} />
    </button>
  );
}
