/** The page's words for states and problems. It knows nothing of when they are shown. */

export const STATES = {
  looking: "Looking for the server",
  idle: "Ready",
  asking: "Waiting for your microphone",
  connecting: "Connecting",
  live: "Listening",
  speaking: "Speaking",
  muted: "Muted",
  waiting: "Waiting",
  reconnecting: "Reconnecting",
};

const PROBLEMS = {
  "microphone-denied": [
    "The microphone is blocked",
    "The avatar speaks what your microphone hears. Allow the microphone for this page in the address bar, then press Start again.",
  ],
  "microphone-absent": [
    "No microphone found",
    "Plug one in, or switch it on in your system's sound settings, then press Start again.",
  ],
  "microphone-busy": [
    "The microphone could not be opened",
    "Another program may be holding it. Close that program, or choose another microphone, then press Start again.",
  ],
  "insecure-context": [
    "This address cannot use a microphone",
    "Browsers give the microphone only to secure pages. Open the page through https, or as http://localhost on the machine that serves it.",
  ],
  "no-webrtc": [
    "This browser has no WebRTC",
    "Sound and picture travel by WebRTC, which is missing or switched off here. A current Chrome, Edge, Firefox or Safari has it.",
  ],
  "server-full": [
    "Every seat is taken",
    "The server is talking with as many people as it can. You are let in as soon as there is room.",
  ],
  "server-gone": [
    "The server cannot be reached",
    "It may be restarting, or your network may be down. This page keeps trying by itself.",
  ],
  "connection-failed": [
    "The connection did not hold",
    "Sound and picture travel by UDP, which some networks block. This page keeps trying; another network or no VPN may help.",
  ],
  "unknown-character": [
    "This character is not here",
    "The server does not know it, or no longer does. Choose another one and press Start.",
  ],
  refused: ["The server refused", ""],
};

/** {title, text} for a Problem. What the server said follows where it says more than our words. */
export function explain(problem) {
  const [title, text] = PROBLEMS[problem.code] ?? ["Something went wrong", ""];
  const said = problem.code === "refused" || !PROBLEMS[problem.code] ? problem.detail : "";
  return { title, text: [text, said].filter(Boolean).join(" ") };
}

export function countdown(seconds) {
  return seconds > 0 ? `Trying again in ${seconds} s` : "";
}
