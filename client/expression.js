/**
 * The buttons for how the faces look and for whom the microphone speaks. They are shown where there is a choice.
 * It knows nothing of conversations: it tells what was chosen.
 */

const FEATURES = {
  neutral: "M11.5 20.5h9",
  happy: "M10 18.5c3 5 9 5 12 0",
  sad: "M11 22c2.5-3.4 7.5-3.4 10 0M9 10.6l3.6-1.7M23 10.6l-3.6-1.7",
  angry: "M11.5 21.4c2.4-1.6 6.6-1.6 9 0M9 8.9l4 1.9M23 8.9l-4 1.9",
  afraid: "M10.6 21.3c1.2-1.8 2.4-1.8 3.6 0s2.4 1.8 3.6 0 2.4-1.8 3.6 0M9.2 9.9l3.4-2.3M22.8 9.9l-3.4-2.3",
  surprised: "M16 18.2a2.1 2.6 0 1 0 .01 0zM9.4 9c.9-.9 2.3-.9 3.2 0M19.4 9c.9-.9 2.3-.9 3.2 0",
};
const NEUTRAL = "neutral"; // of which there is no more or less
const MOST_KEYS = 9;

/** The drawing that stands for an emotion. */
export function emotionIcon(name) {
  return `<svg viewBox="0 0 32 32" aria-hidden="true"><circle class="head" cx="16" cy="16" r="14"/><circle cx="11" cy="13.5" r="1.7"/><circle cx="21" cy="13.5" r="1.7"/><path d="${FEATURES[name] ?? FEATURES.neutral}"/></svg>`;
}

export function capitalised(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export class Expression {
  /** {name, intensity}, or null where the character shows no emotions. */
  emotion = null;
  /** Index of the face that the microphone speaks for, or null where there is but one. */
  voice = null;
  #element;
  #onEmotion;
  #onVoice;

  /** `element` has the page's elements by id. */
  constructor(element, { onEmotion, onVoice }) {
    this.#element = element;
    this.#onEmotion = onEmotion;
    this.#onVoice = onVoice;
    element.intensity.addEventListener("input", () => this.#show(this.emotion.name));
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  /** Shows what a character can do. An emotion stays chosen if it can be; the first face speaks. */
  offer({ emotions, faces }) {
    const { mood, emotions: row, voice, voices } = this.#element;
    mood.hidden = emotions.length === 0;
    row.replaceChildren(...emotions.map((name, index) => this.#button(name, index)));
    const kept = emotions.includes(this.emotion?.name) ? this.emotion.name : emotions[0];
    this.emotion = null;
    if (kept) this.#choose(kept);
    voice.hidden = faces.length < 2;
    voices.replaceChildren(...(faces.length < 2 ? [] : faces.map((title, index) => this.#face(title, index))));
    this.voice = faces.length < 2 ? null : 0;
  }

  #button(name, index) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "emotion", value: name });
    button.innerHTML = emotionIcon(name);
    button.append(Object.assign(document.createElement("span"), { textContent: capitalised(name) }));
    if (index < MOST_KEYS) {
      button.append(Object.assign(document.createElement("kbd"), { textContent: index + 1, ariaHidden: "true" }));
      button.setAttribute("aria-keyshortcuts", index + 1);
    }
    button.addEventListener("click", () => this.#show(name));
    return button;
  }

  #face(title, index) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "voice", value: index, checked: index === 0 });
    input.addEventListener("change", () => {
      this.voice = index;
      this.#onVoice(index);
    });
    label.append(input, Object.assign(document.createElement("span"), { textContent: title }));
    return label;
  }

  #press(event) {
    const typing = event.target.closest?.("dialog, select, textarea, input:not([type=radio], [type=checkbox], [type=range])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !/^[1-9]$/.test(event.key)) return;
    this.#element.emotions.querySelectorAll("button")[event.key - 1]?.click();
  }

  #show(name) {
    this.#choose(name);
    this.#onEmotion(this.emotion);
  }

  #choose(name) {
    this.emotion = { name, intensity: this.#element.intensity.valueAsNumber };
    this.#element.intensity.disabled = name === NEUTRAL;
    for (const button of this.#element.emotions.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === name));
    }
  }
}
