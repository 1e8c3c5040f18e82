// Who the user is, and how the page connects.

import { useRef, useState } from "preact/hooks";
import { Dialog } from "./dialog";
import { asUser, isUser } from "./names";
import type { Me, Transport } from "./state";
import { browser } from "./storage";
import { useApp, useClient } from "./store";
import { sentence } from "./text";

export function SignIn() {
  const why = useApp((state) => state.signIn);
  return why === null ? null : <SignInDialog why={why} />;
}

function SignInDialog({ why }: { why: string }) {
  const client = useClient();
  const me = useApp((state) => state.me);
  const name = useRef<HTMLInputElement>(null);
  const [token, setToken] = useState(why ? "" : me.token);
  const [transport, setTransport] = useState(me.transport);
  const close = () => client.store.set({ signIn: null });

  const submit = (event: Event) => {
    event.preventDefault();
    const input = name.current as HTMLInputElement;
    const user = asUser(input.value);
    if (!token && !isUser(user)) {
      input.setCustomValidity("Characters that can be seen, 128 bytes at the most.");
      input.reportValidity();
      return;
    }
    if (!token && user !== me.user) browser.set("name", user);
    const next: Me = { user: user || me.user, token: token.trim(), transport };
    close();
    client.start(next, client.store.state.open?.name ?? "");
  };

  return (
    <Dialog title={why ? "Who are you?" : "You"} close={close}>
      <form class="sign-in" onSubmit={submit} autocomplete="off">
        {why && (
          <p class="alert" role="alert">
            {sentence(why)}
          </p>
        )}
        <label class="field">
          <span>Name</span>
          <input
            ref={name}
            defaultValue={me.user}
            maxLength={128}
            spellcheck={false}
            autocapitalize="off"
            disabled={Boolean(token)}
            onInput={(event) => event.currentTarget.setCustomValidity("")}
          />
        </label>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            value={token}
            spellcheck={false}
            autocomplete="off"
            autofocus={Boolean(why)}
            aria-describedby="token-help"
            onInput={(event) => setToken(event.currentTarget.value.trim())}
          />
        </label>
        <p class="hint" id="token-help">
          Only where the server asks for one. It says who you are, in place of the name, and stays in this
          tab.
        </p>
        <StatusField />
        <label class="field">
          <span>Connection</span>
          <select
            value={transport}
            onChange={(event) => setTransport(event.currentTarget.value as Transport)}
          >
            <option value="auto">WebSocket, or SSE where that is blocked</option>
            <option value="websocket">WebSocket only</option>
            <option value="sse">SSE only</option>
          </select>
        </label>
        <div class="choices">
          <button type="submit" class="button primary">
            Connect
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function StatusField() {
  const client = useClient();
  const served = useApp((state) => state.friends !== null);
  const away = useApp((state) => state.away);
  if (!served) return null;
  return (
    <label class="field">
      <span>Status</span>
      <select
        value={away ? "away" : "online"}
        onChange={(event) => client.friends.status(event.currentTarget.value as "online" | "away")}
      >
        <option value="online">Online</option>
        <option value="away">Away</option>
      </select>
    </label>
  );
}
