/**
 * The tile for a picture of one's own: sends it, shows how far it is, and says whether the model can hold it.
 * It knows nothing of conversations: it tells which character was made or deleted.
 */

import { readLines } from "./lines.js";
import { Problem, problemOf } from "./problem.js";

const TYPES = new Set(["image/png", "image/jpeg", "image/webp"]);
const MOST_BYTES = 16 * 1024 * 1024;
const OTHER_MODEL = "It knows drawn faces like its own; anything else comes out blurred. For photographs there is the preset hunyuan-avatar, which needs a GPU and weights of its own: see the README.";
const STAGES = {
  sending: ["Sending the picture", 0.1],
  faces: ["Looking for the face", 0.3],
  latents: ["Taking the picture in", 0.5],
  fit: ["Measuring what comes back", 0.7],
  writing: ["Keeping it", 0.9],
};

export class Portrait {
  #element;
  #base;
  #onMade;
  #file = null;
  #sending = null;

  /** `element` has the page's elements by id. */
  constructor(element, base, { onMade }) {
    this.#element = element;
    this.#base = base;
    this.#onMade = onMade;
    element["portrait-file"].addEventListener("change", () => this.take(element["portrait-file"].files[0]));
    element.portrait.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(element["portrait-send"].value === "anyway");
    });
    element["portrait-other"].addEventListener("click", () => element["portrait-file"].click());
    element["portrait-close"].addEventListener("click", () => this.#close());
  }

  /** The tile that stands behind the characters. */
  tile() {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "add" });
    button.innerHTML = `<span class="plus" aria-hidden="true"><svg viewBox="0 0 24 24"><path d="M12 5.5v13M5.5 12h13"/></svg></span><span>Add yours</span>`;
    button.title = "A character of your own picture";
    button.addEventListener("click", () => this.#element["portrait-file"].click());
    return button;
  }

  /** A picture that was chosen, or dropped on the page. */
  take(file) {
    if (!file) return;
    this.#file = file;
    this.#element["portrait-file"].value = ""; // so that the same file can be chosen again
    URL.revokeObjectURL(this.#element["portrait-preview"].src);
    this.#element["portrait-preview"].src = URL.createObjectURL(file);
    this.#element["portrait-title"].value = file.name.replace(/\.[^.]*$/, "").replace(/[_-]+/g, " ").trim().slice(0, 40);
    this.#element.portrait.hidden = false;
    const wrong = !TYPES.has(file.type) ? "Choose a PNG, JPEG or WebP file." : file.size > MOST_BYTES ? "The file is larger than 16 MB." : "";
    if (wrong) this.#refused({ detail: wrong });
    else this.#show("", { send: "Make it speak" });
    this.#element.portrait.scrollIntoView({ block: "nearest" });
    this.#element["portrait-title"].focus();
  }

  async #send(anyway) {
    const sending = (this.#sending = new AbortController());
    this.#stage("sending");
    try {
      for await (const told of this.#told(anyway, sending.signal)) {
        if (sending.signal.aborted) return;
        if (told.stage === "done") return this.#made(told);
        if (told.stage === "refused") return this.#refused(told);
        this.#stage(told.stage);
      }
      throw new Problem("server-gone", "The server ended before it was done.");
    } catch (problem) {
      if (!sending.signal.aborted) this.#refused({ detail: problem.detail || "The server cannot be reached." });
    } finally {
      if (this.#sending === sending) this.#sending = null;
    }
  }

  /** What the server says, line by line. */
  async *#told(anyway, signal) {
    const url = new URL("v1/characters", this.#base);
    url.search = new URLSearchParams({ title: this.#element["portrait-title"].value || "Your picture", anyway });
    const response = await fetch(url, { method: "POST", body: this.#file, headers: { "Content-Type": this.#file.type }, signal });
    if (!response.ok) throw await problemOf(response);
    yield* readLines(response);
  }

  #made({ character, fit }) {
    this.#show(fit.holds ? `It fits. ${measured(fit)}.` : `Made, but it will not look like itself. ${measured(fit)}.`, { tone: fit.holds ? "good" : "bad" });
    this.#onMade(character);
  }

  #refused({ detail, fit }) {
    if (fit) this.#show(`${measured(fit)}. ${OTHER_MODEL}`, { tone: "bad", title: "This model cannot draw it well", send: "Use it anyway", anyway: true });
    else this.#show(detail, { tone: "bad", title: "That did not work" });
  }

  #stage(stage) {
    const [text, share] = STAGES[stage] ?? [stage, 0.5];
    this.#show(text, { share });
  }

  #show(text, { tone = "", title = "", share = null, send = "", anyway = false } = {}) {
    const { portrait, "portrait-said": said, "portrait-head": head, "portrait-progress": bar, "portrait-send": button } = this.#element;
    portrait.dataset.tone = tone;
    head.textContent = title;
    said.textContent = text;
    bar.hidden = share === null;
    if (share !== null) bar.value = share;
    button.hidden = !send;
    button.textContent = send;
    button.value = anyway ? "anyway" : "";
    this.#element["portrait-title"].disabled = !send;
    this.#element["portrait-other"].hidden = tone !== "bad";
  }

  #close() {
    this.#sending?.abort();
    this.#element.portrait.hidden = true;
  }
}

/** Asks the server to take a character away; throws a Problem. */
export async function deleteCharacter(base, name) {
  const response = await fetch(new URL(`v1/characters/${encodeURIComponent(name)}`, base), { method: "DELETE" });
  if (!response.ok) throw await problemOf(response);
}

function measured({ picture, face, needed, needed_in_face }) {
  return `Redrawn by the model, ${picture.toFixed(0)} % of the picture's detail comes back (it needs ${needed} %), and ${face.toFixed(0)} % of the face's (${needed_in_face} %)`;
}
