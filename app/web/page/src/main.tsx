// Begins the page: who the user is, which room, and what the browser tells.

import { render } from "preact";
import "../css/base.css";
import "../css/layout.css";
import "../css/side.css";
import "../css/messages.css";
import "../css/row.css";
import "../css/composer.css";
import "../css/panel.css";
import "../css/overlays.css";
import "../css/phone.css";
import * as address from "./address";
import { App } from "./app";
import { Client } from "./client";
import { randomName } from "./names";
import { WIDE } from "./screen";
import type { Panel, Transport } from "./state";
import { browser, tab } from "./storage";
import { ClientProvider } from "./store";
import { applyTheme } from "./theme";
import { subject } from "./token";

function firstPanel(): Panel | null {
  if (!WIDE.matches) return null;
  const panel = browser.get("panel") ?? "people";
  return panel === "people" || panel === "friends" ? panel : null;
}

applyTheme();
const asked = address.parse(location);
const token = asked.token || (tab.get("token") ?? "");
const user = subject(token) ?? tab.get("name") ?? browser.get("name") ?? randomName();
const client = new Client(
  { user, token, transport: (tab.get("transport") ?? "auto") as Transport },
  firstPanel(),
);

render(
  <ClientProvider value={client}>
    <App />
  </ClientProvider>,
  document.getElementById("app") as HTMLElement,
);
client.start(client.store.state.me, asked.room || "lobby");

window.addEventListener("hashchange", () => {
  const next = address.parse(location);
  const { me, open } = client.store.state;
  if (next.token && next.token !== me.token)
    client.start({ ...me, token: next.token }, next.room || open?.name || "lobby");
  else if (next.room) client.open(next.room);
});
document.addEventListener("keydown", (event) => event.key === "Escape" && client.escape());
document.addEventListener("visibilitychange", () => document.hidden || client.awake());
WIDE.addEventListener("change", () => client.store.set({ panel: firstPanel(), drawer: false }));
window.addEventListener("focus", () => client.awake());
