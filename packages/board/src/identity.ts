/** Who uses this window: a name, not a login. `tidelock dev` gives a token for any name. */

const NAME_KEY = "board.name";

export interface Identity {
  /** The name as people see it. */
  readonly name: string;
  /** The name as the server's rules see it. */
  readonly sub: string;
  /** Whether the name comes from the address (`?as=`), so that this window is a second person in one browser. */
  readonly guest: boolean;
}

/** The identity for `name`: lower case letters, digits and dashes make the server's form. */
function identity(name: string, guest: boolean): Identity {
  const sub = name
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return { name, sub: sub || "guest", guest };
}

/** The identity of this window: from `?as=`, otherwise the stored name, otherwise Ann. */
export function currentIdentity(): Identity {
  const guest = new URLSearchParams(location.search).get("as")?.trim();
  if (guest) return identity(guest, true);
  return identity(localStorage.getItem(NAME_KEY)?.trim() || "Ann", false);
}

export function rememberName(name: string): Identity {
  localStorage.setItem(NAME_KEY, name);
  return identity(name, false);
}

/** The name of this identity's local database; a second person in one browser has a database of their own. */
export function databaseOf(who: Identity): string {
  return who.guest ? `board-${who.sub}` : "board";
}

/** A token for `sub` from the development server. */
export async function fetchToken(sub: string): Promise<string> {
  const response = await fetch("/v1/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub }),
  });
  if (!response.ok) throw new Error(`The server gave no token (${response.status}).`);
  const body: unknown = await response.json();
  if (typeof body === "object" && body !== null && "token" in body && typeof body.token === "string") return body.token;
  throw new Error("The server answered without a token.");
}
