/** Counts the payload of WebSocket frames of a page and of its workers, as Chromium's DevTools report them. */
import type { CDPSession, Page } from "playwright-core";

/** Payload bytes of WebSocket frames so far. */
export interface Traffic {
  sent: number;
  received: number;
}

interface Attached {
  readonly sessionId: string;
}

interface Message {
  readonly sessionId: string;
  readonly message: string;
}

interface FrameEvent {
  readonly method?: string;
  readonly params?: { readonly response?: { readonly opcode: number; readonly payloadData: string } };
}

/** Starts to count. Call it before the page makes its worker: a worker waits until it is watched. */
export async function watchFrames(page: Page): Promise<Traffic> {
  const traffic: Traffic = { sent: 0, received: 0 };
  const session: CDPSession = await page.context().newCDPSession(page);
  let id = 0;
  const tell = (sessionId: string, method: string): Promise<unknown> =>
    session.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id: ++id, method }) });
  session.on("Target.attachedToTarget", ({ sessionId }: Attached) => {
    void tell(sessionId, "Network.enable").then(() => tell(sessionId, "Runtime.runIfWaitingForDebugger"));
  });
  session.on("Target.receivedMessageFromTarget", ({ message }: Message) => {
    const { method, params } = JSON.parse(message) as FrameEvent;
    const response = params?.response;
    if (response === undefined) return;
    if (method === "Network.webSocketFrameSent") traffic.sent += payloadBytes(response);
    if (method === "Network.webSocketFrameReceived") traffic.received += payloadBytes(response);
  });
  await session.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: true, flatten: false });
  return traffic;
}

/** Text is reported as it is, anything else in base64. */
function payloadBytes({ opcode, payloadData }: { readonly opcode: number; readonly payloadData: string }): number {
  return opcode === 1 ? Buffer.byteLength(payloadData) : Buffer.from(payloadData, "base64").length;
}
