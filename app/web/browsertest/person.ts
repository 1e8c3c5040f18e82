import type { BrowserContext, Locator, Page } from "playwright-core";
import { Line } from "./line";
import { PATIENCE, until } from "./wait";

export type Panel = "people" | "friends" | "notifications";
type Standing = { state?: string; status?: string };

const PANELS = { people: /^Who is here/, friends: /^Friends/, notifications: /^Notifications/ };

// tellViolations, in a page, makes an error of what the page's policy forbids.
export function tellViolations(): void {
  document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
  );
}

// A Person is somebody who looks at the chat page in a browser of their own, over a line of
// their own. How the page names its parts (app/web/page/src/app.tsx) is known here, and
// hardly anywhere else.
export class Person {
  readonly user: string;
  readonly page: Page;
  readonly context: BrowserContext;
  readonly line: Line;
  readonly #address: string;
  readonly #read = new Set<string>();

  private constructor(user: string, context: BrowserContext, page: Page, line: Line, address: string) {
    [this.user, this.context, this.page, this.line, this.#address] = [user, context, page, line, address];
    page.setDefaultTimeout(PATIENCE);
    page.on("websocket", (socket) =>
      socket.on("framesent", ({ payload }) => {
        const { cmd, room, pos } = JSON.parse(String(payload));
        if (cmd === "read" && pos !== "0-0") this.#read.add(room);
      }),
    );
  }

  // open makes a browser ready; go opens the page.
  static async open(
    context: BrowserContext,
    user: string,
    room: string,
    server: string,
    token?: string,
  ): Promise<Person> {
    const line = await new Line(server).open();
    const page = await context.newPage();
    await page.addInitScript(tellViolations);
    await page.addInitScript(
      (name) => {
        if (location.protocol === "about:" || !name || sessionStorage.getItem("chatring.name")) return;
        sessionStorage.setItem("chatring.name", name);
      },
      token ? "" : user,
    );
    const hash = token ? `room=${encodeURIComponent(room)}&token=${token}` : room;
    return new Person(user, context, page, line, `${line.url}/#${hash}`);
  }

  // tab opens a second tab, with whatever name the page gives it.
  async tab(): Promise<Person> {
    const page = await this.context.newPage();
    await page.goto(this.page.url());
    const label = await page.getByRole("button", { name: /^You are / }).getAttribute("aria-label");
    const user = (label ?? "").replace(/^You are (.*): name and settings$/, "$1");
    const tab = new Person(user, this.context, page, this.line, this.#address);
    await tab.joined();
    return tab;
  }

  async go(): Promise<void> {
    await this.page.goto(this.#address);
  }

  async leave(): Promise<void> {
    await this.context.close();
    this.line.cut();
  }

  // ---- How the page stands

  #dot = (state: string): Promise<void> => this.page.locator(`[data-testid=dot]${state}`).waitFor();
  joined = (): Promise<void> => this.#dot("[data-state=joined]");
  away = (): Promise<void> => this.#dot(":not([data-state=joined])");
  counting = (): Promise<void> => this.page.getByText(/Next try in \d+ s/).waitFor();
  retryNow = (): Locator => this.page.getByRole("button", { name: "Retry now" });
  shard = async (): Promise<string> =>
    /node (\w+)/.exec((await this.page.getByTestId("served").textContent()) ?? "")?.[1] ?? "";
  servedBy = (shard: string): Promise<unknown> =>
    until(`the footer of ${this.user} names node ${shard}`, async () => (await this.shard()) === shard);
  transport = (): Promise<string | null> => this.page.getByTestId("transport").textContent();
  width = (): Promise<number> =>
    this.page.evaluate(() =>
      Math.max(
        document.documentElement.scrollWidth,
        ...[...document.querySelectorAll(".scroller")].map((e) => e.scrollWidth),
      ),
    );

  // refuseSockets has the line refuse WebSockets, with the server's shape of a refusal.
  refuseSockets(): void {
    this.line.refusing = true;
  }

  // ---- What is said

  log = (): Locator => this.page.getByRole("log", { name: "Messages" });
  composer = (): Locator => this.page.getByRole("textbox", { name: "Message", exact: true });
  rows = (): Locator => this.log().getByTestId("message");

  // row is the message that says this, or something like it.
  row = (text: string | RegExp): Locator => {
    const words = this.page.getByTestId("text");
    const same =
      typeof text === "string"
        ? words.and(this.page.getByText(text, { exact: true }))
        : words.filter({ hasText: text });
    return this.rows().filter({ has: same }).last();
  };

  texts = (): Promise<string[]> => this.log().getByTestId("text").allTextContents();
  shows = (text: string | RegExp): Promise<void> => this.row(text).waitFor();
  deleted = (): Locator => this.rows().getByText("deleted", { exact: true });
  pending = (): Promise<number> => this.log().locator("[data-state=pending]").count();
  failed = (text: string): Locator => this.log().locator("[data-state=failed]").filter({ hasText: text });
  typing = (user: string): Locator => this.page.getByTestId("typing").getByText(user);
  days = (): Promise<string[]> => this.log().locator(".day").allTextContents();
  empty = (): Locator => this.page.locator(".empty");
  refused = (): Locator => this.page.getByText("This room is closed to you.");
  beginning = (): Locator => this.page.getByText(/This is where .* begins/);
  toLatest = (): Locator => this.page.getByRole("button", { name: /\d+ new|To the latest/ });

  // say types the first line, and hands in further ones as fast as a page can take them: what
  // is tried here is the wire, not the keyboard.
  async say(...lines: string[]): Promise<void> {
    const [first, ...more] = lines;
    await this.composer().fill(first ?? "");
    await this.composer().press("Enter");
    if (!more.length) return;
    await this.composer().evaluate(async (field, texts) => {
      const input = field as HTMLTextAreaElement;
      for (const text of texts) {
        input.value = text;
        input.form?.requestSubmit();
        await new Promise((done) => setTimeout(done, 10));
      }
    }, more);
  }

  // sent waits until all that this person has said is in the log.
  sent = (): Promise<unknown> =>
    until(`${this.user}'s messages are answered`, async () => (await this.pending()) === 0);

  // point puts the pointer on a message, as a reader does: after having scrolled there.
  async #point(text: string): Promise<void> {
    await this.row(text).scrollIntoViewIfNeeded();
    await this.page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    await this.row(text).hover();
  }

  // actions are what can be done with a message: the names of the buttons.
  async actions(text: string): Promise<string[]> {
    await this.#point(text);
    const buttons = this.row(text).getByRole("group", { name: "Actions" }).getByRole("button");
    await buttons.first().waitFor();
    return buttons.evaluateAll((all) => all.map((button) => button.getAttribute("aria-label") ?? ""));
  }

  async act(text: string, action: string): Promise<void> {
    await this.#point(text);
    await this.row(text).getByRole("button", { name: action, exact: true }).click();
  }

  async edit(text: string, into: string): Promise<void> {
    await this.act(text, "Edit");
    await this.composer().fill(into);
    await this.composer().press("Enter");
  }

  async delete(text: string): Promise<void> {
    await this.act(text, "Delete");
    await this.confirm("Delete");
  }

  confirm = (verb: string): Promise<void> =>
    this.page.getByRole("dialog").getByRole("button", { name: verb, exact: true }).click();

  async reply(text: string, answer: string): Promise<void> {
    await this.act(text, "Reply");
    await this.say(answer);
  }

  discard = (text: string): Promise<void> =>
    this.failed(text).getByRole("button", { name: "Discard" }).click();

  // ---- Where one reads

  inView = (text: string): Promise<unknown> =>
    until(`${this.user} sees "${text}"`, () =>
      this.row(text).evaluate((row) => {
        const [box, view] = [row.getBoundingClientRect(), row.closest(".scroller")?.getBoundingClientRect()];
        return view !== undefined && box.bottom > view.top && box.top < view.bottom;
      }),
    );

  topOf = (text: string): Promise<number> =>
    this.row(text).evaluate((row) => row.getBoundingClientRect().top);

  // wheel turns the mouse's wheel over the messages.
  async wheel(by: number): Promise<void> {
    await this.page.locator(".scroller").hover();
    await this.page.mouse.wheel(0, by);
  }

  // toTop scrolls up to the oldest message on the page, and says which it is and where.
  async toTop(): Promise<{ text: string; top: number }> {
    return this.page.locator(".scroller").evaluate(async (scroller) => {
      const first = scroller.querySelector("[data-testid=text]");
      const row = first?.closest("[data-testid=message]") as HTMLElement;
      scroller.scrollTop = 0;
      // Where it stands before an older page has come; that takes longer than a frame.
      return { text: first?.textContent ?? "", top: row.getBoundingClientRect().top };
    });
  }

  // ---- Rooms

  // openRoom follows a link to a room.
  openRoom = (room: string): Promise<void> =>
    this.page.evaluate((hash) => {
      location.hash = hash;
    }, room);

  async typeRoom(room: string): Promise<void> {
    await this.page.getByRole("textbox", { name: "Room", exact: true }).fill(room);
    await this.page.getByRole("button", { name: "Open room" }).click();
  }

  // wrongRoom types a room that cannot be, and returns what the field says.
  async wrongRoom(room: string): Promise<string> {
    const field = this.page.getByRole("textbox", { name: "Room", exact: true });
    // A field that is typed into takes 64 characters.
    await field.evaluate((input, value) => {
      (input as HTMLInputElement).value = value;
    }, room);
    await field.press("Enter");
    return field.evaluate((input) => (input as HTMLInputElement).validationMessage);
  }

  async wrongName(name: string): Promise<string> {
    await this.openSettings();
    const field = this.page.getByRole("dialog").getByRole("textbox", { name: "Name" });
    await field.fill(name);
    await field.press("Enter");
    const said = await field.evaluate((input) => (input as HTMLInputElement).validationMessage);
    await this.page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    return said;
  }

  // listed is the entry of a room, or of the other one of a direct room, in the list.
  listed = (name: string): Locator =>
    this.page.locator(".room-item").filter({ has: this.page.locator(".name", { hasText: name }) });

  async unread(name: string): Promise<number> {
    const [badge] = await this.listed(name).locator(".badge").allTextContents();
    return Number.parseInt(badge ?? "0", 10);
  }

  // hasRead waits until the page has told that a room was read.
  hasRead = (room: string): Promise<unknown> =>
    until(`${this.user} has read ${room}`, () => this.#read.has(room));

  // look does what a reader does who comes back to the page: lists are asked for again.
  look = (): Promise<void> => this.page.evaluate(() => void window.dispatchEvent(new Event("focus")));

  async describe(title: string, topic: string): Promise<void> {
    await this.page.getByRole("button", { name: "This room" }).click();
    await this.page.getByRole("menuitem", { name: "Title and topic…" }).click();
    const dialog = this.page.getByRole("dialog");
    await dialog.getByRole("textbox", { name: "Title" }).fill(title);
    await dialog.getByRole("textbox", { name: "Topic" }).fill(topic);
    await dialog.getByRole("button", { name: "Save" }).click();
  }

  // ---- People

  #panelButton = (panel: Panel): Locator =>
    this.page
      .getByRole("banner")
      .or(this.page.locator(".head"))
      .getByRole("button", { name: PANELS[panel] })
      .first();

  async panel(panel: Panel): Promise<Locator> {
    const shown = this.page.getByRole("complementary", { name: PANELS[panel] });
    const button = this.#panelButton(panel);
    await button.waitFor();
    if ((await button.getAttribute("aria-expanded")) !== "true") await button.click();
    await shown.waitFor();
    return shown;
  }

  closePanel = (): Promise<void> => this.page.getByRole("button", { name: "Close the panel" }).click();

  present = (user: string): Locator => this.page.getByTestId("people").locator("li", { hasText: user });

  friend = (user: string, { state, status }: Standing = {}): Locator =>
    this.page
      .locator(
        `[data-testid=friend]${state ? `[data-state=${state}]` : ""}${status ? `[data-status=${status}]` : ""}`,
      )
      .filter({ hasText: user });

  async requestFriend(user: string): Promise<void> {
    const panel = await this.panel("friends");
    await panel.getByRole("textbox", { name: "Ask to be friends" }).fill(user);
    await this.page.keyboard.press("Enter");
  }

  async answerFriend(user: string, answer: "Accept" | "Decline"): Promise<void> {
    await this.panel("friends");
    await this.friend(user, { state: "asked" }).getByRole("button", { name: answer, exact: true }).click();
  }

  async menuOf(user: string, command: string): Promise<void> {
    await this.panel("friends");
    await this.friend(user)
      .getByRole("button", { name: `${user}: what to do` })
      .click();
    await this.page.getByRole("menuitem", { name: command, exact: true }).click();
  }

  async setStatus(status: "online" | "away"): Promise<void> {
    await this.openSettings();
    await this.page.getByRole("combobox", { name: "Status" }).selectOption(status);
    await this.page.keyboard.press("Escape");
  }

  async unreadNotifications(): Promise<number> {
    const label = await this.#panelButton("notifications").getAttribute("aria-label");
    return Number(/, (\d+) unread/.exec(label ?? "")?.[1] ?? 0);
  }

  notification = (text: string): Locator => this.page.locator(".notices li", { hasText: text }).first();

  // ---- Who one is

  async openSettings(): Promise<void> {
    if (await this.page.getByRole("button", { name: "Rooms", exact: true }).isVisible())
      await this.page.getByRole("button", { name: "Rooms", exact: true }).click();
    await this.page.getByRole("button", { name: /^You are / }).click();
    await this.page.getByRole("dialog").waitFor();
  }

  tokenField = (): Locator => this.page.getByRole("dialog").getByLabel("Token");

  async signIn(token: string): Promise<void> {
    await this.tokenField().fill(token);
    await this.page.getByRole("dialog").getByRole("button", { name: "Connect" }).click();
  }

  // ---- Without a mouse

  // tabTo presses Tab until something has the focus.
  async tabTo(name: string): Promise<void> {
    const passed: string[] = [];
    for (let i = 0; i < 60; i++) {
      const focused = await this.#focused();
      if (focused === name) return;
      passed.push(focused);
      await this.page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not lead to ${name}, but to ${passed.join(", ")}`);
  }

  #focused = (): Promise<string> =>
    this.page.evaluate(() => {
      const e = document.activeElement as HTMLInputElement | null;
      return (
        e?.getAttribute("aria-label") ?? e?.labels?.[0]?.textContent?.trim() ?? e?.textContent?.trim() ?? ""
      );
    });

  // byKeys goes up from the end of the messages to one of them, and to one of its buttons.
  async byKeys(text: string, action: string): Promise<void> {
    const { keyboard } = this.page;
    await this.tabTo("Messages, scrollable");
    await keyboard.press("ArrowUp");
    await until(`the arrow keys lead to "${text}"`, async () => {
      const here = await this.page.evaluate(
        () => document.activeElement?.querySelector("[data-testid=text]")?.textContent ?? "",
      );
      if (here === text) return true;
      await keyboard.press("ArrowUp");
      return false;
    });
    await this.tabTo(action);
    await keyboard.press("Enter");
  }
}
