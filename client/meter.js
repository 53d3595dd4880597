/**
 * Measures a live connection: delay, pictures a second, sync, network. It knows nothing of the page, nor how it connects.
 * What a page cannot measure (the microphone's own buffer, the screen's) is counted as a fixed estimate or left out.
 */

import { skewMs } from "./sync.js";

const OPUS_PACKET_MS = 20; // the first sound of a packet waits for its last
const MICROPHONE_MS = 10; // where the browser does not tell its capture latency

export class Meter {
  #link;
  #video;
  #microphoneMs;
  #shown = []; // {at, glassMs}: when each picture was shown, and how long after its last packet had come
  #before = null;
  #running = true;

  constructor(link, video, microphone) {
    this.#link = link;
    this.#video = video;
    const latency_s = microphone?.getAudioTracks()[0]?.getSettings().latency;
    this.#microphoneMs = (latency_s ? latency_s * 1000 : MICROPHONE_MS) + OPUS_PACKET_MS;
    this.#follow();
  }

  stop() {
    this.#running = false;
  }

  /** {delayMs, parts, fps, syncMs, roundTripMs, lossPercent}; null for what is not known. Call it once a second. */
  async read(server) {
    const now = performance.now();
    const stats = summary(await this.#link.getStats());
    const before = this.#before;
    this.#before = stats;
    this.#shown = this.#shown.filter(({ at }) => now - at < 2_000);
    const roundTripMs = stats.roundTripMs ?? this.#link.roundTripMs;
    const parts = {
      microphone: this.#microphoneMs,
      server: number(server?.latency_ms),
      network: roundTripMs,
      browser: this.#glassMs() ?? bufferedMs(before, stats),
    };
    const known = Object.values(parts).every((part) => part !== null);
    return {
      delayMs: known ? Object.values(parts).reduce((sum, part) => sum + part, 0) : null,
      parts,
      fps: this.#fps(),
      syncMs: stats.syncMs,
      roundTripMs,
      lossPercent: lossPercent(before, stats),
    };
  }

  #follow() {
    if (!this.#video.requestVideoFrameCallback) return;
    const each = (now, frame) => {
      if (!this.#running) return;
      this.#shown.push({ at: now, glassMs: frame.receiveTime ? frame.expectedDisplayTime - frame.receiveTime : null });
      this.#video.requestVideoFrameCallback(each);
    };
    this.#video.requestVideoFrameCallback(each);
  }

  #fps() {
    const shown = this.#shown;
    if (shown.length < 2) return shown.length;
    return ((shown.length - 1) * 1000) / (shown.at(-1).at - shown[0].at);
  }

  #glassMs() {
    const times = this.#shown.map(({ glassMs }) => glassMs).filter((ms) => ms !== null && ms >= 0).sort((a, b) => a - b);
    return times.length ? times[times.length >> 1] : null;
  }
}

/** The few figures we use, out of an RTCStatsReport. */
function summary(report) {
  const found = { roundTripMs: null, syncMs: skewMs(report), received: 0, lost: 0, processing: 0, decoded: 0 };
  for (const entry of report.values()) {
    if (entry.type === "candidate-pair" && entry.nominated && number(entry.currentRoundTripTime) !== null) {
      found.roundTripMs = entry.currentRoundTripTime * 1000;
    }
    if (entry.type !== "inbound-rtp") continue;
    found.received += entry.packetsReceived ?? 0;
    found.lost += entry.packetsLost ?? 0;
    if (entry.kind === "video") {
      found.processing = entry.totalProcessingDelay ?? entry.jitterBufferDelay ?? 0;
      found.decoded = entry.framesDecoded ?? 0;
    }
  }
  return found;
}

function bufferedMs(before, now) {
  const frames = now.decoded - (before?.decoded ?? 0);
  return frames > 0 ? ((now.processing - (before?.processing ?? 0)) / frames) * 1000 : null;
}

function lossPercent(before, now) {
  const lost = Math.max(0, now.lost - (before?.lost ?? 0));
  const all = lost + now.received - (before?.received ?? 0);
  return all > 0 ? (100 * lost) / all : null;
}

function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
