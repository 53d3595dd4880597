/**
 * One connection to one session: WHIP-like signalling, the peer connection, and noticing when it is lost.
 * It knows nothing of trying again.
 */

import { Problem, problemOf } from "./problem.js";
import { PictureWait } from "./sync.js";

const GATHERING_MS = 300; // candidates found later follow by PATCH
const CONNECT_MS = 12_000;
const SERVER_SILENT_MS = 4_000; // the server speaks once a second, so this many words are missing
const WATCH_MS = 1_000;

export class Link {
  /** Settles once, when the connection is gone: with its Problem, or with null when the page dropped it. */
  lost;
  stream = new MediaStream();
  roundTripMs = null;
  #peer;
  #channel;
  #sessionUrl;
  #timers = [];
  #pictureWait = null;
  #speaking = new Set(); // faces
  #heardAt = performance.now();
  #lose;

  /**
   * Makes a session and connects to it; whatever fails, nothing is left behind on the server.
   * `onStream` is called ahead of the first packet: sound that finds no player waits, and stays late for seconds.
   */
  static async open({ base, character, options, track, signal, onStream, onSpeaking, onStats }) {
    const created = await request(new URL("v1/sessions", base), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ character, options }),
      signal,
    });
    const session = await created.json();
    const link = new Link(session.id, base, iceServers(created.headers.get("Link")), { onSpeaking, onStats });
    try {
      await link.#connect(new URL(session.rtc, base), { track, signal, onStream });
      return link;
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  constructor(sessionId, base, servers, { onSpeaking, onStats }) {
    this.lost = new Promise((resolve) => { this.#lose = resolve; });
    this.sessionId = sessionId;
    this.#sessionUrl = new URL(`v1/sessions/${encodeURIComponent(sessionId)}`, base);
    this.#peer = new RTCPeerConnection({ iceServers: servers, bundlePolicy: "max-bundle" });
    this.#channel = this.#peer.createDataChannel("visavis");
    this.#channel.addEventListener("message", (event) => this.#hear(event, { onSpeaking, onStats }));
    this.#channel.addEventListener("close", () => this.drop(new Problem("connection-failed", "The server ended the connection.")));
    this.#peer.addEventListener("track", ({ track, receiver }) => {
      if (track.kind === "video") this.#pictureWait = new PictureWait(receiver);
      this.stream.addTrack(track);
    });
    this.#peer.addEventListener("connectionstatechange", () => {
      if (this.#peer.connectionState === "failed") this.drop(new Problem("connection-failed", "The connection to the server broke."));
    });
  }

  getStats() {
    return this.#peer.getStats();
  }

  async replaceTrack(track) {
    await this.#peer.getTransceivers()[0]?.sender.replaceTrack(track);
  }

  /** True when the session shows this character from now on; false when that takes a new session. */
  async changeCharacter(character) {
    const response = await fetch(this.#sessionUrl, {
      method: "PATCH",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ character }),
    }).catch(() => null);
    if (response?.status === 422) throw await problemOf(response);
    return response?.ok ?? false;
  }

  /** A word to the server, now or as soon as it listens. */
  say(message) {
    const send = () => this.#channel.send(JSON.stringify(message));
    if (this.#channel.readyState === "open") send();
    else if (this.#channel.readyState === "connecting") this.#channel.addEventListener("open", send, { once: true });
  }

  /** Tells whoever waits for `lost`. */
  drop(problem) {
    this.#lose(problem);
  }

  /** Closes the connection and the session; `leaving` lets the request outlive the page. */
  async close({ leaving = false } = {}) {
    this.drop(null);
    this.#timers.forEach(clearInterval);
    this.#peer.close();
    const url = this.#sessionUrl;
    this.#sessionUrl = null;
    if (!url) return;
    const signal = leaving ? undefined : AbortSignal.timeout(2_000);
    await fetch(url, { method: "DELETE", keepalive: leaving, signal }).catch(() => {}); // an unreachable session expires by itself
  }

  async #connect(rtcUrl, { track, signal, onStream }) {
    const peer = this.#peer;
    peer.addTransceiver(track, { direction: "sendrecv" });
    peer.addTransceiver("video", { direction: "recvonly" });
    const candidates = new CandidatePost(peer);
    await peer.setLocalDescription(await peer.createOffer());
    await candidates.gathered(GATHERING_MS);
    const answered = await request(rtcUrl, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
      signal,
    });
    const resource = new URL(answered.headers.get("Location") ?? rtcUrl, rtcUrl);
    await peer.setRemoteDescription({ type: "answer", sdp: await answered.text() });
    onStream(this);
    candidates.sendTo(resource, answered.headers.get("ETag"));
    await this.#connected(signal);
    this.#heardAt = performance.now();
    this.#timers.push(setInterval(() => this.#watch(), WATCH_MS));
  }

  #connected(signal) {
    const peer = this.#peer;
    return new Promise((resolve, reject) => {
      const fail = (detail) => reject(new Problem("connection-failed", detail));
      const timer = setTimeout(() => fail("No network path to the server was found."), CONNECT_MS);
      const check = () => {
        if (peer.connectionState === "connected") resolve();
        if (peer.connectionState === "failed") fail("No network path to the server was found.");
        if (peer.connectionState !== "connecting" && peer.connectionState !== "new") clearTimeout(timer);
      };
      signal.addEventListener("abort", () => { clearTimeout(timer); fail("Ended."); }, { once: true });
      peer.addEventListener("connectionstatechange", check);
      check();
    });
  }

  #watch() {
    if (performance.now() - this.#heardAt > SERVER_SILENT_MS) {
      this.drop(new Problem("server-gone", "The server has gone silent."));
      return;
    }
    this.say({ ping: performance.now() });
    this.#peer.getStats().then((report) => this.#pictureWait?.adjust(report));
  }

  #hear(event, { onSpeaking, onStats }) {
    this.#heardAt = performance.now();
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // not a word of ours
    }
    if (typeof message.pong === "number") this.roundTripMs = performance.now() - message.pong;
    else if (message.type === "vad") {
      this.#speaking[message.speaking ? "add" : "delete"](message.face);
      onSpeaking(this.#speaking.size > 0);
    }
    else if (message.type === "stats") onStats(message);
  }
}

/** Collects local candidates: the early ones go with the offer, the late ones by PATCH as RFC 9725 has it. */
class CandidatePost {
  #peer;
  #late = [];
  #resource = null;
  #etag = null;
  #offered = false;

  constructor(peer) {
    this.#peer = peer;
    peer.addEventListener("icecandidate", ({ candidate }) => {
      if (!this.#offered || !candidate?.candidate) return;
      this.#late.push(candidate);
      this.#flush();
    });
  }

  async gathered(limitMs) {
    const peer = this.#peer;
    await new Promise((resolve) => {
      const check = () => peer.iceGatheringState === "complete" && resolve();
      peer.addEventListener("icegatheringstatechange", check);
      setTimeout(resolve, limitMs);
      check();
    });
    this.#offered = true;
  }

  sendTo(resource, etag) {
    this.#resource = resource;
    this.#etag = etag;
    this.#flush();
  }

  #flush() {
    if (!this.#resource || !this.#late.length) return;
    const description = this.#peer.localDescription.sdp;
    const lines = ["ice-ufrag", "ice-pwd"].map((name) => description.match(new RegExp(`^a=${name}:.*$`, "m"))?.[0]);
    for (const candidate of this.#late.splice(0)) {
      lines.push("m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${candidate.sdpMid}`, `a=${candidate.candidate}`);
    }
    fetch(this.#resource, {
      method: "PATCH",
      headers: { "Content-Type": "application/trickle-ice-sdpfrag", ...(this.#etag && { "If-Match": this.#etag }) },
      body: lines.join("\r\n") + "\r\n",
    }).catch(() => {}); // a path already offered may do
  }
}

async function request(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    throw new Problem("server-gone", error.message);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** ICE servers as WHIP gives them: <turn:host>; rel="ice-server"; username="u"; credential="c", ... */
export function iceServers(header) {
  const value = String.raw`(?:"(?:[^"\\]|\\.)*"|[^",;\s]+)`;
  const links = new RegExp(String.raw`<([^>]+)>((?:\s*;\s*[\w-]+=${value})*)`, "g");
  const parameters = new RegExp(String.raw`([\w-]+)=(${value})`, "g");
  const servers = [];
  for (const [, urls, rest] of (header ?? "").matchAll(links)) {
    const { rel, username, credential } = Object.fromEntries([...rest.matchAll(parameters)].map(([, name, text]) => [name, unquoted(text)]));
    if (rel === "ice-server") servers.push(username ? { urls, username, credential } : { urls });
  }
  return servers;
}

function unquoted(text) {
  return text.startsWith('"') ? text.slice(1, -1).replace(/\\(.)/g, "$1") : text;
}
