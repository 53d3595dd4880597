/**
 * The page: puts the characters, the conversation and its measurements on screen.
 * It knows nothing of peer connections; those are avatar.js's.
 */

import { Conversation, fetchCharacters } from "./avatar.js";
import { Designer } from "./designer.js";
import { Expression } from "./expression.js";
import { Meter } from "./meter.js";
import { Portrait, deleteCharacter } from "./portrait.js";
import { STATES, countdown, explain } from "./words.js";

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const query = new URLSearchParams(location.search);
const PLAIN_TILE = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"; // for a picture that does not load
const SILENT_MICROPHONE_MS = 6_000;
const SPEAKING_TAIL_MS = 150; // so that the ring does not flicker between words

document.body.classList.toggle("stage-only", query.get("stage") === "1"); // for programs that take the picture from a page

let characters = [];
let conversation = null;
let meter = null;
let microphone = null;
let serverStats = null;
let startedAt = 0;
let muted = false;
let speaking = false;
let state = "looking";

const expression = new Expression(element, {
  onEmotion: (emotion) => conversation?.setEmotion(emotion),
  onVoice: (voice) => conversation?.setVoice(voice),
});

const portrait = new Portrait(element, document.baseURI, { onMade: welcome });
const designer = new Designer(element, document.baseURI, { onMade: welcome });

/* ---- characters ---- */

async function loadCharacters() {
  for (;;) {
    try {
      characters = await fetchCharacters(document.baseURI);
      break;
    } catch (problem) {
      showProblem(problem);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  }
  hideProblem();
  showState("idle");
  showCharacters();
  const wanted = query.get("character");
  const known = characters.some(({ name }) => name === wanted);
  choose(known ? wanted : characters[0]?.name);
  element.start.disabled = characters.length === 0;
  if (wanted && !known) showProblem({ code: "unknown-character" });
  else if (query.get("autostart") === "1") start();
}

function showCharacters() {
  element.characters.replaceChildren(...characters.map(characterChoice), designer.tile(), portrait.tile());
}

/** Anew, with the same one chosen if it is still there. */
async function listCharacters() {
  const chosen = chosenCharacter();
  characters = await fetchCharacters(document.baseURI);
  showCharacters();
  choose(characters.some(({ name }) => name === chosen) ? chosen : characters[0].name);
}

/** Somebody new, or somebody who has changed, is spoken with at once. */
async function welcome({ name }) {
  await listCharacters();
  speakWith(name);
  element.characters.querySelector("input:checked").focus();
}

function speakWith(name) {
  choose(name);
  hideProblem();
  conversation?.setCharacter(name, expression).catch(showProblem);
}

function characterChoice({ name, title, picture, own, designed }) {
  const label = document.createElement("label");
  label.className = "character";
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "character", value: name });
  const image = Object.assign(document.createElement("img"), { src: picture, alt: "", width: 96, height: 96 });
  image.addEventListener("error", () => { image.src = PLAIN_TILE; }, { once: true });
  const caption = Object.assign(document.createElement("span"), { textContent: title.split(",")[0] });
  input.addEventListener("change", () => speakWith(name));
  label.append(input, image, caption);
  if (designed) label.append(changeButton(name, caption.textContent));
  if (own) label.append(removeButton(name, caption.textContent));
  return label;
}

function changeButton(name, title) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "change", title: `Change ${title}` });
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 19l1-4L16.5 4.5a1.9 1.9 0 0 1 2.7 0l.3.3a1.9 1.9 0 0 1 0 2.7L9 18z"/></svg>`;
  button.ariaLabel = button.title;
  button.addEventListener("click", (event) => {
    event.preventDefault(); // the label would choose it
    designer.change({ name });
  });
  return button;
}

function removeButton(name, title) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×", title: `Delete ${title}` });
  button.addEventListener("click", async (event) => {
    event.preventDefault(); // the label would choose it
    if (!confirm(`Delete ${title} from this server?`)) return;
    await deleteCharacter(document.baseURI, name).then(listCharacters).catch(showProblem);
  });
  return button;
}

function choose(name) {
  const chosen = characters.find((one) => one.name === name);
  if (!chosen) return;
  element.characters.querySelector(`input[value="${CSS.escape(name)}"]`).checked = true;
  element.still.src = chosen.picture;
  element.still.alt = `${chosen.title}, a still picture`;
  element.still.hidden = false;
  expression.offer(chosen);
}

function chosenCharacter() {
  return element.characters.querySelector("input:checked")?.value;
}

/* ---- conversation ---- */

async function start() {
  hideProblem();
  startedAt = performance.now();
  element.first.textContent = "–";
  conversation = new Conversation({
    base: document.baseURI,
    character: chosenCharacter(),
    deviceId: element.microphone.value || null,
    emotion: expression.emotion,
    voice: expression.voice,
  });
  const mine = conversation;
  mine.setMuted(muted);
  const when = (event, then) => mine.addEventListener(event, ({ detail }) => mine === conversation && then(detail));
  when("state", follow);
  when("microphone", ({ stream }) => useMicrophone(stream));
  when("link", ({ link }) => showLink(link));
  when("speaking", ({ speaking: now }) => showSpeaking(now));
  when("server", ({ stats }) => { serverStats = stats; });
  let problem = null;
  try {
    await mine.run();
  } catch (caught) {
    problem = caught;
  }
  if (mine !== conversation) return;
  conversation = null;
  clearLive();
  if (problem) showProblem(problem);
}

/** The page is idle at once; saying goodbye to the server goes on behind it. */
function stop({ leaving = false } = {}) {
  const ending = conversation;
  conversation = null;
  if (!ending) return;
  ending.end({ leaving });
  clearLive();
  hideProblem();
}

function follow({ state: next, problem, retryInS }) {
  if (next === "ended") return;
  showState(next);
  if (problem) showProblem(problem, retryInS);
  else if (next === "live") hideProblem();
}

/** The picture that is on screen stays until the new connection has one of its own. */
function showLink(link) {
  meter?.stop();
  for (const never of element.screen.querySelectorAll("video:not(.shown)")) never.remove();
  const video = Object.assign(document.createElement("video"), { playsInline: true, autoplay: true, muted: !element.hear.checked });
  video.disablePictureInPicture = true;
  video.srcObject = link.stream;
  meter = new Meter(link, video, microphone);
  element.stage.dataset.session = link.sessionId;
  const reveal = () => {
    for (const older of element.screen.querySelectorAll("video.shown")) older.remove();
    video.classList.add("shown");
    if (element.first.textContent === "–") element.first.textContent = `${((performance.now() - startedAt) / 1000).toFixed(2)} s`;
  };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(reveal);
  else video.addEventListener("timeupdate", reveal, { once: true });
  element.screen.append(video);
  video.play().catch(() => { video.muted = true; video.play().catch(() => {}); }); // sound needs a gesture first
}

function clearLive() {
  delete element.stage.dataset.session;
  meter?.stop();
  meter = null;
  serverStats = null;
  speaking = false;
  useMicrophone(null);
  element.screen.replaceChildren();
  for (const figure of [element.delay, element.fps, element.sync, element.network]) figure.textContent = "–";
  element["delay-parts"].textContent = "";
  showState("idle");
}

/* ---- state and problems ---- */

function showState(next = state) {
  state = next;
  const live = state === "live";
  const shown = live && muted ? "muted" : live && speaking ? "speaking" : state;
  element.stage.dataset.state = shown;
  if (element["state-text"].textContent !== STATES[shown]) element["state-text"].textContent = STATES[shown];
  const busy = state !== "idle" && state !== "looking";
  element.start.textContent = busy ? "End" : "Start";
  element.start.classList.toggle("ending", busy);
  element.mute.disabled = !busy;
  element.still.classList.toggle("breathing", state === "connecting");
}

let speakingTimer = 0;

function showSpeaking(now) {
  clearTimeout(speakingTimer);
  speakingTimer = setTimeout(() => { speaking = now; showState(); }, now ? 0 : SPEAKING_TAIL_MS);
}

function showProblem(problem, retryInS = 0) {
  const { title, text } = explain(problem);
  if (element["notice-title"].textContent !== title) {
    element["notice-title"].textContent = title;
    element["notice-text"].textContent = text;
  }
  element["notice-count"].textContent = countdown(retryInS);
  element.notice.hidden = false;
}

function hideProblem() {
  element.notice.hidden = true;
  element["notice-title"].textContent = "";
}

/* ---- microphone ---- */

let levelMeter = null;

function useMicrophone(stream) {
  microphone = stream;
  levelMeter?.close();
  levelMeter = stream ? meterLevel(stream) : null;
  if (stream) listMicrophones();
}

/** A bar that shows that the microphone works, and a word when it gives nothing at all. */
function meterLevel(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  context.createMediaStreamSource(stream).connect(analyser);
  context.resume().catch(() => {});
  const samples = new Float32Array(analyser.fftSize);
  let heardAt = performance.now();
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    if (peak > 1e-4 || muted || context.state !== "running") heardAt = performance.now();
    const level = muted ? 0 : Math.min(1, Math.max(0, 1 + Math.log10(peak + 1e-6) / 2.2)); // -44 dB to 0 dB
    element.level.style.transform = `scaleX(${level.toFixed(3)})`;
    element["mute-text"].textContent = muted ? "Unmute" : performance.now() - heardAt > SILENT_MICROPHONE_MS ? "Microphone is silent" : "Mute";
  }, 80);
  return {
    close() {
      clearInterval(timer);
      context.close();
      element.level.style.transform = "scaleX(0)";
    },
  };
}

/** Names of microphones are told only after one was allowed. */
async function listMicrophones() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const inputs = devices.filter(({ kind, deviceId, label }) => kind === "audioinput" && deviceId && label);
  const inUse = microphone?.getAudioTracks()[0]?.getSettings().deviceId;
  element.microphone.replaceChildren(...inputs.map(({ deviceId, label }) => new Option(label, deviceId, false, deviceId === inUse)));
  element["microphone-field"].hidden = inputs.length < 2;
}

/* ---- read-out ---- */

async function refresh() {
  const reading = await meter?.read(serverStats).catch(() => null);
  if (!reading || state !== "live") return;
  const { delayMs, parts, fps, syncMs, roundTripMs, lossPercent } = reading;
  element.delay.textContent = delayMs === null ? "measuring" : `about ${Math.round(delayMs)} ms`;
  element.fps.textContent = fps.toFixed(1);
  element.sync.textContent = syncMs === null ? "–" : inStep(syncMs);
  element.network.textContent = roundTripMs === null ? "–" : `${Math.round(roundTripMs)} ms round trip, ${(lossPercent ?? 0).toFixed(1)} % lost`;
  element["delay-parts"].textContent = Object.entries(parts)
    .map(([part, ms]) => `${part} ${ms === null ? "–" : Math.round(ms)}`)
    .join(" + ") + " ms";
}

function inStep(syncMs) {
  const ms = Math.round(Math.abs(syncMs));
  if (ms <= 5) return "in step";
  return `picture ${ms} ms ${syncMs > 0 ? "behind" : "ahead"}`;
}

/* ---- wiring ---- */

element.still.addEventListener("error", () => { element.still.hidden = true; });

element.start.addEventListener("click", () => (conversation ? stop() : start()));

element.mute.addEventListener("click", () => {
  muted = !muted;
  conversation?.setMuted(muted);
  element.mute.setAttribute("aria-pressed", String(muted));
  element["mute-text"].textContent = muted ? "Unmute" : "Mute";
  showState();
});

element.hear.addEventListener("change", () => {
  for (const video of element.screen.querySelectorAll("video")) video.muted = !element.hear.checked;
});

element.microphone.addEventListener("change", () => {
  conversation?.setMicrophone(element.microphone.value).catch(showProblem);
});

navigator.mediaDevices?.addEventListener("devicechange", () => microphone && listMicrophones());

// A file that is dropped anywhere is taken in; left alone, the browser would leave the page for it.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (!file) return;
  if (element.designer.open || /json$/i.test(file.type || file.name)) designer.import(file);
  else portrait.take(file);
});

addEventListener("pagehide", () => stop({ leaving: true }));

setInterval(refresh, 1_000);
element.start.disabled = true;
loadCharacters();
