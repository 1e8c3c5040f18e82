// Each node's colour, the same everywhere on the page. They can be told apart by people
// who do not see red and green (Okabe and Ito), on light ground and on dark.

const colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bd1", "#9a8a00"];

/** colour is that of a node among the nodes of the ring. */
export function colour(ids: string[], appid: string | undefined): string {
  const i = ids.indexOf(appid ?? "");
  return (i >= 0 && colours[i % colours.length]) || "#8a93a5";
}
