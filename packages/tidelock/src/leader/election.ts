/**
 * One tab leads: it holds the Web Lock of the database. A leader that is closed or crashes loses the lock by itself; one that
 * is frozen keeps it and falls silent, so its lock is stolen. What the old leader's code still does after that is harmless:
 * its transactions see a later fence and abort.
 */

/** A leader that was not heard of for this long is stolen from. */
const SILENCE_MS = 1000;
/** How often a follower looks. */
const LOOK_MS = 200;
/** A tab that could not look for a while waits this long for a sign of life that is on its way. */
const EXCUSE_MS = 800;

/** What the election tells its tab. */
export interface Candidate {
  /** This tab leads from here on. */
  lead(): void;
  /** It does not any more. */
  resign(): void;
}

/** A request for the lock. */
interface Claim {
  /** It was refused, given up, stolen from or handed back: if the browser grants it all the same, that means nothing. */
  over: boolean;
  release: (() => void) | null;
  readonly abandon: AbortController;
}

export class Election {
  private readonly lock: string;
  private readonly candidate: Candidate;
  /** The one claim that waits or holds the lock. */
  private claim: Claim | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;
  private heardAt = 0;
  private lookedAt = 0;
  private excused = false;
  private patience = 0;

  constructor(lock: string, candidate: Candidate) {
    this.lock = lock;
    this.candidate = candidate;
  }

  get leads(): boolean {
    return this.claim !== null && this.claim.release !== null;
  }

  /** Takes part from here on. */
  start(): void {
    if (this.timer !== undefined) return;
    this.heard();
    this.lookedAt = performance.now();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.request(false);
  }

  /** Takes no part any more, and hands the lead over. */
  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.drop();
  }

  /** Another tab's engine took over although this tab holds the lock: hands it over and waits for its turn. */
  yield(): void {
    if (this.timer === undefined) return;
    this.drop();
    this.heard();
    this.request(false);
  }

  /** The leader showed that it is alive. */
  heard(): void {
    this.excused = false;
    this.heardAt = performance.now();
    // Followers do not steal at the same moment: the first one's sign of life stops the others.
    this.patience = SILENCE_MS + Math.random() * 200;
  }

  private look(): void {
    const now = performance.now();
    // A tab that was frozen itself may have heard nothing for that reason alone, but only once: the timers of a hidden tab are
    // always late.
    if (now - this.lookedAt > LOOK_MS * 3 && !this.excused) {
      this.excused = true;
      this.heardAt = Math.max(this.heardAt, now - this.patience + EXCUSE_MS);
    }
    this.lookedAt = now;
    if (this.leads || now - this.heardAt <= this.patience) return;
    this.drop();
    this.heard();
    this.request(true);
  }

  private request(steal: boolean): void {
    const claim: Claim = { over: false, release: null, abandon: new AbortController() };
    this.claim = claim;
    const options: LockOptions = steal ? { steal } : { signal: claim.abandon.signal };
    const ended = (): void => this.ended(claim);
    navigator.locks.request(this.lock, options, () => this.granted(claim)).then(ended, ended);
  }

  private granted(claim: Claim): Promise<void> {
    if (claim.over) return Promise.resolve();
    const released = new Promise<void>((resolve) => {
      claim.release = resolve;
    });
    this.candidate.lead();
    return released;
  }

  /** The lock was stolen, or the request failed: this tab queues again. */
  private ended(claim: Claim): void {
    if (claim.over) return;
    this.drop();
    if (this.timer !== undefined) this.request(false);
  }

  private drop(): void {
    const { claim } = this;
    if (claim === null) return;
    this.claim = null;
    claim.over = true;
    claim.abandon.abort();
    if (claim.release === null) return;
    this.candidate.resign();
    claim.release();
  }
}
