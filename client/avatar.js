/**
 * A conversation with an avatar: microphone, session, peer connection, and coming back after a failure.
 * It knows nothing of the page around it: it takes plain values and tells what happens by events.
 */

import { Link } from "./link.js";
import { Problem, asProblem } from "./problem.js";

const BACKOFF_S = [0.5, 1, 2, 4, 8]; // between attempts to come back; the last one repeats

/** The characters this server offers: [{name, title, picture, faces, emotions}], picture as an absolute URL. */
export async function fetchCharacters(base) {
  const url = new URL("v1/characters", base);
  let response;
  try {
    response = await fetch(url, { cache: "no-store" });
  } catch (error) {
    throw new Problem("server-gone", String(error));
  }
  if (!response.ok) throw new Problem("server-gone", `The server answered ${response.status} when asked for its characters.`);
  const listed = await response.json();
  return listed.map((one) => ({ ...one, picture: new URL(one.picture, url).href }));
}

/** Opens a microphone. `processing` is the browser's echo cancellation, noise suppression and automatic gain. */
export async function openMicrophone({ deviceId = null, processing = true } = {}) {
  if (!globalThis.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new Problem("insecure-context");
  const audio = { channelCount: 1, echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
  if (deviceId) audio.deviceId = { ideal: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const code = {
      NotAllowedError: "microphone-denied",
      SecurityError: "microphone-denied",
      NotFoundError: "microphone-absent",
      OverconstrainedError: "microphone-absent",
    }[error.name] ?? "microphone-busy";
    throw new Problem(code, error.message);
  }
}

/**
 * One conversation from Start to End, over as many connections as it takes.
 *
 * Events, each a CustomEvent with a detail:
 *   state    {state, problem, retryInS}   asking | connecting | live | waiting | reconnecting | ended
 *   link     {link}                       a new connection is being made; its `stream` holds the avatar's sound and picture
 *   microphone {stream}                   a microphone was opened
 *   speaking {speaking}                   the server hears speech, or no longer does
 *   server   {stats}                      the server's own measurements, once a second
 */
export class Conversation extends EventTarget {
  #base;
  #options;
  #processing;
  #deviceId;
  #character;
  #emotion;
  #voice;
  #muted = false;
  #microphone = null;
  #link = null;
  #ending = new AbortController();
  #leaving = false;

  /** `emotion` {name, intensity}, `voice` the index of the face that the microphone speaks for; null: nothing to choose. */
  constructor({ base, character, deviceId = null, processing = true, options = {}, emotion = null, voice = null }) {
    super();
    this.#base = base;
    this.#character = character;
    this.#deviceId = deviceId;
    this.#processing = processing;
    this.#options = options;
    this.#emotion = emotion;
    this.#voice = voice;
  }

  /** Resolves after end(); rejects with the Problem that waiting cannot cure. Call it once. */
  async run() {
    try {
      if (!globalThis.RTCPeerConnection) throw new Problem("no-webrtc");
      this.#tell("state", { state: "asking" });
      await this.#openMicrophone();
      await this.#stayConnected();
    } catch (error) {
      if (!this.#ending.signal.aborted) throw asProblem(error);
    } finally {
      this.#ending.abort();
      await this.#link?.close({ leaving: this.#leaving });
      this.#stopMicrophone();
      this.#tell("state", { state: "ended" });
    }
  }

  /** Ends the conversation and frees its session on the server; `leaving` when the page itself is going away. */
  end({ leaving = false } = {}) {
    this.#leaving = leaving;
    this.#ending.abort();
    if (leaving) this.#link?.close({ leaving }); // now: the page has no later turn of its event loop
    else this.#link?.drop(null);
  }

  setMuted(muted) {
    this.#muted = muted;
    for (const track of this.#microphone?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  async setMicrophone(deviceId) {
    this.#deviceId = deviceId;
    if (!this.#microphone) return;
    const stream = await openMicrophone({ deviceId, processing: this.#processing });
    this.#useMicrophone(stream);
    await this.#link?.replaceTrack(stream.getAudioTracks()[0]);
  }

  setEmotion(emotion) {
    this.#emotion = emotion;
    this.#express(this.#link);
  }

  setVoice(face) {
    this.#voice = face;
    this.#express(this.#link);
  }

  /** Changes who speaks, in the running session where the server can, else through a new session. */
  async setCharacter(name, { emotion = this.#emotion, voice = this.#voice } = {}) {
    this.#character = name;
    this.#emotion = emotion;
    this.#voice = voice;
    const link = this.#link;
    if (!link) return;
    if (await link.changeCharacter(name)) this.#express(link);
    else link.drop(null);
  }

  #express(link) {
    if (this.#emotion) link?.say({ type: "emotion", ...this.#emotion });
    if (this.#voice !== null) link?.say({ type: "voice", face: this.#voice });
  }

  async #stayConnected() {
    let failures = 0;
    let wasLive = false;
    while (!this.#ending.signal.aborted) {
      this.#tell("state", { state: wasLive ? "reconnecting" : "connecting" });
      let problem;
      try {
        const asked = this.#character;
        this.#link = await this.#openLink();
        if (asked !== this.#character) await this.setCharacter(this.#character);
        else this.#express(this.#link);
        failures = 0;
        wasLive = true;
        this.#tell("state", { state: "live" });
        problem = await this.#link.lost;
        await this.#link.close();
      } catch (error) {
        problem = asProblem(error);
      }
      if (problem === null || this.#ending.signal.aborted) continue;
      if (!problem.passes) throw problem;
      const pauseS = problem.retryAfterS ?? BACKOFF_S[Math.min(failures++, BACKOFF_S.length - 1)];
      await this.#wait(pauseS, wasLive && problem.code !== "server-full" ? "reconnecting" : "waiting", problem);
    }
  }

  async #openLink() {
    return Link.open({
      base: this.#base,
      character: this.#character,
      options: this.#options,
      track: this.#microphone.getAudioTracks()[0],
      signal: this.#ending.signal,
      onStream: (link) => this.#tell("link", { link }),
      onSpeaking: (speaking) => this.#tell("speaking", { speaking }),
      onStats: (stats) => this.#tell("server", { stats }),
    });
  }

  /** The browser may ask the person, for as long as they like; End does not wait for the answer. */
  async #openMicrophone() {
    const opening = openMicrophone({ deviceId: this.#deviceId, processing: this.#processing });
    const stream = await Promise.race([opening, aborted(this.#ending.signal)]);
    if (stream) this.#useMicrophone(stream);
    else opening.then((late) => late.getTracks().forEach((track) => track.stop()), () => {});
  }

  #useMicrophone(stream) {
    this.#stopMicrophone();
    this.#microphone = stream;
    this.setMuted(this.#muted);
    // A microphone that is unplugged ends its track; the default one, if there is any, takes over.
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      if (this.#microphone === stream && !this.#ending.signal.aborted) this.#replaceLostMicrophone();
    });
    this.#tell("microphone", { stream });
  }

  async #replaceLostMicrophone() {
    try {
      await this.setMicrophone(null);
    } catch (error) {
      this.#link?.drop(asProblem(error));
    }
  }

  #stopMicrophone() {
    for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.#microphone = null;
  }

  async #wait(seconds, state, problem) {
    const until = performance.now() + seconds * 1000;
    for (;;) {
      const leftMs = until - performance.now();
      if (leftMs <= 0 || this.#ending.signal.aborted) return;
      this.#tell("state", { state, problem, retryInS: Math.ceil(leftMs / 1000) });
      await sleep(Math.min(leftMs, 1000), this.#ending.signal);
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function sleep(ms, signal) {
  let timer;
  const slept = new Promise((resolve) => { timer = setTimeout(resolve, ms); });
  return Promise.race([slept, aborted(signal)]).finally(() => clearTimeout(timer));
}

function aborted(signal) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
