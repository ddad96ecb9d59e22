/**
 * Milliseconds since 1970 that never go back, and go on while the machine's clock is behind them: timers depend on them. A clock that is
 * set ahead is followed; one that is set back is waited for without standing still.
 */
export class Clock {
  private readonly wall: () => number;
  private readonly ticks: () => number;
  private last: number;
  private lastTicks: number;

  constructor(wall: () => number = Date.now, ticks: () => number = () => performance.now()) {
    this.wall = wall;
    this.ticks = ticks;
    this.last = wall();
    this.lastTicks = ticks();
  }

  now(): number {
    const ticks = this.ticks();
    this.last = Math.max(this.last + Math.max(0, ticks - this.lastTicks), this.wall());
    this.lastTicks = ticks;
    return Math.floor(this.last);
  }
}
