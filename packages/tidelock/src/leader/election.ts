/**
 * One tab leads: it holds the Web Lock of the database. A leader that is closed or crashes loses the lock by itself; one that
 * is frozen keeps it and falls silent, so its lock is stolen. What the old leader's code still does after that is harmless:
 * its transactions see a later fence and abort.
 */

/** A leader that was not heard of for this long is stolen from. */
const SILENCE_MS = 1200;
/** How often a follower looks. */
const LOOK_MS = 200;

/** What the election tells its tab. */
export interface Candidate {
  /** This tab leads from here on. */
  lead(): void;
  /** It does not any more. */
  resign(): void;
}

export class Election {
  private readonly lock: string;
  private readonly candidate: Candidate;
  private release: (() => void) | null = null;
  private waiting: AbortController | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;
  private heardAt = 0;
  private lookedAt = 0;
  private patience = 0;

  constructor(lock: string, candidate: Candidate) {
    this.lock = lock;
    this.candidate = candidate;
  }

  get leads(): boolean {
    return this.release !== null;
  }

  /** Takes part from here on. */
  start(): void {
    if (this.timer !== undefined) return;
    this.heard();
    this.lookedAt = performance.now();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.queue();
  }

  /** Takes no part any more, and hands the lead over. */
  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.waiting?.abort();
    this.waiting = null;
    this.resign();
  }

  /** The leader showed that it is alive. */
  heard(): void {
    this.heardAt = performance.now();
    // Followers do not steal at the same moment: the first one's sign of life stops the others.
    this.patience = SILENCE_MS + Math.random() * 300;
  }

  private look(): void {
    const now = performance.now();
    // A tab that was frozen or throttled itself has heard nothing for that reason alone.
    if (now - this.lookedAt > LOOK_MS * 3) this.heard();
    this.lookedAt = now;
    if (!this.leads && now - this.heardAt > this.patience) this.steal();
  }

  private queue(): void {
    const waiting = new AbortController();
    this.waiting = waiting;
    this.hold(navigator.locks.request(this.lock, { signal: waiting.signal }, () => this.held()));
  }

  private steal(): void {
    this.heard();
    this.waiting?.abort();
    this.waiting = null;
    this.hold(navigator.locks.request(this.lock, { steal: true }, () => this.held()));
  }

  private held(): Promise<void> {
    this.waiting = null;
    if (this.timer === undefined) return Promise.resolve();
    const released = new Promise<void>((resolve) => {
      this.release = resolve;
    });
    this.candidate.lead();
    return released;
  }

  /** The request ends when the lock is given back, is stolen, or the wait for it was given up. */
  private hold(request: Promise<unknown>): void {
    request.catch((error: unknown) => {
      const stolen = error instanceof DOMException && error.name === "AbortError" && this.leads;
      if (!stolen) return;
      this.resign();
      if (this.timer !== undefined) this.queue();
    });
  }

  private resign(): void {
    const release = this.release;
    if (release === null) return;
    this.release = null;
    this.candidate.resign();
    release();
  }
}
