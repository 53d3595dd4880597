/**
 * Brings sound and picture together within seconds of the start. It knows nothing of where they come from.
 *
 * The browser does so as well, but in steps so small that it takes half a minute: at first pictures are shown up to
 * 100 ms ahead of their sound, which waits in longer buffers. Here the wait of the pictures is set outright.
 */

const FIRST_GUESS_MS = 45; // what sound usually waits longer than pictures: one packet, and the sound device
const GOOD_ENOUGH_MS = 12;
const LONGEST_WAIT_MS = 250;

export class PictureWait {
  #receiver;
  #before = { delay: 0, emitted: 0 };

  constructor(receiver) {
    this.#receiver = receiver;
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = FIRST_GUESS_MS;
  }

  /** Call it once a second with the connection's RTCStatsReport. */
  adjust(report) {
    if (!("jitterBufferTarget" in this.#receiver)) return;
    const video = [...report.values()].find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
    const aheadMs = -(skewMs(report) ?? 0);
    const now = { delay: video?.jitterBufferTargetDelay ?? 0, emitted: video?.jitterBufferEmittedCount ?? 0 };
    const pictures = now.emitted - this.#before.emitted;
    const waitMs = pictures > 0 ? ((now.delay - this.#before.delay) * 1000) / pictures : null;
    this.#before = now;
    if (waitMs === null || Math.abs(aheadMs) < GOOD_ENOUGH_MS) return;
    this.#receiver.jitterBufferTarget = Math.round(Math.min(Math.max(waitMs + aheadMs, 0), LONGEST_WAIT_MS));
  }
}

/** How far the picture is behind its sound; negative when it is ahead, null when the browser does not tell. */
export function skewMs(report) {
  const playout = {};
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp") playout[entry.kind] = entry.estimatedPlayoutTimestamp;
  }
  // What of the server's clock is heard now, less what of it is seen now.
  return playout.audio && playout.video ? playout.audio - playout.video : null;
}
