import logo from "../../page/ring.svg";
import { Events } from "./events";
import type { Picture } from "./feed";
import { Lookup } from "./lookup";
import { Nodes } from "./nodes";
import { Plots } from "./plots";
import { Ring } from "./ring";
import type { State } from "./state";
import { clock, haproxyWord, number, redisWord, span, type Tone } from "./words";

export function App({ picture, onLook }: { picture: Picture; onLook: (room: string) => void }) {
  const { state, stale } = picture;
  return (
    <>
      <header class="bar">
        <h1>
          <img src={logo} alt="" width="24" height="24" /> The live ring
        </h1>
        <Pulse picture={picture} />
      </header>
      <Stale picture={picture} />
      {state ? (
        <main class={stale ? "stale" : ""}>
          <Summary state={state} />
          {state.alone && (
            <p class="note">
              This node stands alone, or was not told of the others: <code>ring.nodes</code> names the
              operators' addresses of all nodes, <code>ring.haproxy</code> HAProxy's.
            </p>
          )}
          <div class="top">
            <section class="panel where" aria-labelledby="ring-title">
              <h2 id="ring-title">Ring</h2>
              <Ring state={state} found={picture.found} />
              <Lookup picture={picture} ids={state.ring.ids ?? []} onLook={onLook} />
            </section>
            <div class="side">
              <section class="panel" aria-labelledby="nodes-title">
                <h2 id="nodes-title">Nodes</h2>
                <Nodes state={state} />
              </section>
              <section class="panel events" aria-labelledby="events-title">
                <h2 id="events-title">What has happened</h2>
                <Events state={state} />
              </section>
            </div>
          </div>
          <Plots state={state} samples={picture.samples} />
        </main>
      ) : (
        <main aria-busy="true">
          <p class="note">{stale ? "" : "Asking the nodes …"}</p>
        </main>
      )}
    </>
  );
}

/** Pulse says whether the picture is live. */
function Pulse({ picture: { state, stale, heard } }: { picture: Picture }) {
  if (!state) return null;
  return (
    <p class="pulse">
      <span class={`dot ${stale ? "bad" : "good"}`} aria-hidden="true" />
      {stale ? `As of ${clock(heard, Date.now())}` : "Live"}
      <span class="soft">, asked by {state.by}</span>
    </p>
  );
}

/** Stale stands above a picture that is none of now, and says where else to ask. */
function Stale({ picture: { state, stale, silence } }: { picture: Picture }) {
  const others = (state?.nodes ?? []).filter((n) => n.asked && n.answers && n.appid !== state?.by);
  return (
    <div role="alert">
      {stale && (
        <p class="banner">
          <strong>
            {state ? `Node ${state.by}, which asks for this page,` : "This node"} has not answered for{" "}
            {span(silence)}.
          </strong>{" "}
          {state && "This is how it was then. "}
          {others.length > 0 && "Ask another node: "}
          {others.map((n) => (
            <a key={n.appid} href={`${n.address}/ring/${location.hash}`}>
              {n.appid}
            </a>
          ))}
        </p>
      )}
    </div>
  );
}

function Summary({ state }: { state: State }) {
  const live = state.nodes.filter((n) => n.answers && n.node);
  const sum = (figure: (n: NonNullable<(typeof live)[0]["node"]>) => number) =>
    live.reduce((all, n) => all + (n.node ? figure(n.node) : 0), 0);
  const known = state.nodes.filter((n) => n.on || n.full > 0).length;
  const on = state.nodes.filter((n) => n.on).length;
  const facts: [string, string, Tone][] = [
    ["On the ring", `${on} of ${known}`, on === known ? "good" : "bad"],
    ["HAProxy", haproxyWord(state).word, haproxyWord(state).tone],
    ["Redis", redisWord(state).word, redisWord(state).tone],
    ["Connections", number(sum((n) => n.connections)), "none"],
    ["Members", number(sum((n) => n.members)), "none"],
    ["Messages/s", number(sum((n) => n.messages)), "none"],
    ["Deliveries/s", number(sum((n) => n.deliveries)), "none"],
  ];
  return (
    <dl class="summary">
      {facts.map(([name, value, tone]) => (
        <div key={name} class={tone}>
          <dt>{name}</dt>
          <dd>
            {tone !== "none" && <span class={`dot ${tone}`} aria-hidden="true" />}
            {value}
          </dd>
        </div>
      ))}
    </dl>
  );
}
