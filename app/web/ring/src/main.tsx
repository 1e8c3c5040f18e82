import { render } from "preact";
import { App } from "./app";
import { Feed } from "./feed";
import "uplot/dist/uPlot.min.css";

const page = document.getElementById("page");
if (page) {
  const feed = new Feed((picture) => render(<App picture={picture} onLook={look} />, page));
  const look = (room: string) => {
    history.replaceState(null, "", room ? `#${encodeURIComponent(room)}` : location.pathname);
    feed.look(room);
  };
  const linked = () => feed.look(decodeURIComponent(location.hash.slice(1)));
  addEventListener("hashchange", linked);
  document.addEventListener("visibilitychange", () => feed.tick());
  feed.start();
  if (location.hash) linked();
}
