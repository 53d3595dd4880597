/**
 * The character designer: a dialog in which a drawn person is made, kept, exported and imported.
 * It knows nothing of conversations: it tells which character was made.
 */

import { DesignControls } from "./design_controls.js";
import { capitalised, emotionIcon } from "./expression.js";
import { readLines } from "./lines.js";
import { Preview } from "./preview.js";
import { Problem, problemOf } from "./problem.js";

const MOST_FILE_BYTES = 64 * 1024;
const MOST_UNDONE = 100;
const CHOICE_SIZE = 144; // twice what is shown
const STAGES = { latents: "Taking the picture in", writing: "Keeping it" };

export class Designer {
  #element;
  #base;
  #onMade;
  #controls;
  #preview;
  #known = null; // what the server says of looks
  #look = null;
  #changing = null; // the name of the kept character that is being changed
  #undone = [];
  #lastField = null;
  #feeling = null; // the emotion of the preview
  #picturing = false;
  #pictured = new Map(); // field -> {about, url}: pictures of its choices, and for which look

  /** `element` has the page's elements by id. */
  constructor(element, base, { onMade }) {
    this.#element = element;
    this.#base = base;
    this.#onMade = onMade;
    this.#controls = new DesignControls(element["design-tabs"], element["design-panels"], {
      onChange: (field, value, brings) => this.#change(field, value, brings),
      onLot: (group) => this.#throwDice(group.controls.flatMap(({ field, brings }) => [field, ...brings])),
      onTab: () => this.#pictureChoices(),
    });
    this.#preview = new Preview(element["design-picture"], {
      draw: (look, size) => this.#picture("picture", { look, size, emotion: this.#feeling }),
      onProblem: (problem) => this.#tell(problem),
      onSettled: () => this.#pictureChoices(),
    });
    element["design-dice"].addEventListener("click", () => this.#throwDice(null));
    element["design-undo"].addEventListener("click", () => this.#undo());
    element["design-form"].addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(event.submitter?.value === "new" ? null : this.#changing);
    });
    element["design-title"].addEventListener("input", () => this.#address());
    element["design-export"].addEventListener("click", () => this.#export());
    element["design-import"].addEventListener("click", () => element["design-file"].click());
    element["design-file"].addEventListener("change", () => this.import(element["design-file"].files[0]));
    element["design-close"].addEventListener("click", () => element.designer.close());
  }

  /** The tile that stands behind the characters. */
  tile() {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "add", id: "design-tile" });
    button.innerHTML = `<span class="plus" aria-hidden="true"><svg viewBox="0 0 24 24"><path d="M5 19l1-4L16.5 4.5a1.9 1.9 0 0 1 2.7 0l.3.3a1.9 1.9 0 0 1 0 2.7L9 18z"/><path d="M14.5 6.5l3 3"/></svg></span><span>Design one</span>`;
    button.title = "Draw a character of your own";
    button.addEventListener("click", () => this.open());
    return button;
  }

  /** As it was left, or with somebody by lot. */
  async open() {
    if (!(await this.#ready())) return;
    if (this.#changing) this.#start({ title: "", look: this.#look });
    if (!this.#look) await this.#throwDice(null);
  }

  /** Somebody who was designed here before. */
  async change({ name }) {
    if (!(await this.#ready())) return;
    await this.#trying(async () => {
      const { title, look } = await (await this.#ask(`v1/characters/${encodeURIComponent(name)}/design`)).json();
      this.#start({ title, look }, name);
    });
  }

  /** A file that was exported here or elsewhere. */
  async import(file) {
    this.#element["design-file"].value = ""; // so that the same file can be chosen again
    if (!file || !(await this.#ready())) return;
    await this.#trying(async () => {
      if (file.size > MOST_FILE_BYTES) throw new Problem("refused", `${file.name} is no character that Visavis has exported: it is too large.`);
      const { title, look, changes } = await (await this.#post("v1/designer/import", file)).json();
      this.#start({ title, look });
      this.#say(changes.length ? `${title} is here. Some values were out of their range: ${changes.join("; ")}.` : `${title} is here.`);
    });
  }

  /** Opens the dialog, and asks once what can be designed. False where nothing can, which is then said. */
  async #ready() {
    const { designer, "design-all": all, "design-missing": missing } = this.#element;
    if (!designer.open) {
      designer.showModal();
      designer.focus(); // not its first button, which closes it
    }
    if (this.#known) return true;
    this.#say("");
    missing.textContent = "Getting the pencils out";
    missing.dataset.tone = "";
    missing.hidden = false;
    try {
      this.#known = await (await this.#ask("v1/designer")).json();
      missing.hidden = true;
      this.#controls.offer(this.#known.groups);
      this.#element["design-feelings"].replaceChildren(...this.#known.emotions.map((name) => this.#feelingButton(name)));
      this.#feel(this.#known.emotions[0]);
      this.#element["design-people"].replaceChildren(...this.#known.people.map((one) => this.#person(one)));
    } catch (problem) {
      missing.textContent = problem.detail || "The server cannot be reached.";
      missing.dataset.tone = "bad";
    }
    all.hidden = !this.#known;
    return this.#known !== null;
  }

  #person({ name, title, look }) {
    const button = Object.assign(document.createElement("button"), { type: "button", value: name, title: `Start from ${title}` });
    const picture = new URL(`v1/characters/${encodeURIComponent(name)}/picture`, this.#base).href;
    const image = Object.assign(document.createElement("img"), { src: picture, alt: title.split(",")[0], width: 48, height: 48 });
    const drawn = async () => { image.src = URL.createObjectURL(await this.#picture("picture", { look, size: CHOICE_SIZE })); };
    image.addEventListener("error", () => this.#trying(drawn), { once: true }); // a server of another model has none of them
    button.append(image);
    button.addEventListener("click", () => this.#replace(look));
    return button;
  }

  #start({ title, look }, changing = null) {
    this.#changing = changing;
    this.#undone = [];
    this.#lastField = null;
    this.#element["design-title"].value = title;
    this.#say("");
    this.#put(look);
  }

  #put(look) {
    const { "design-undo": undo, "design-save": save, "design-new": anew, "design-key": key, "design-key-colour": colour } = this.#element;
    this.#look = look;
    this.#controls.show(look);
    this.#preview.show(look);
    undo.disabled = this.#undone.length === 0;
    save.textContent = this.#changing ? "Save changes" : "Save";
    anew.hidden = !this.#changing;
    key.hidden = look.background !== "solid";
    colour.textContent = look.background_colour;
    this.#address();
  }

  /** Where the picture alone is, for a program that keys its background out. */
  #address() {
    const name = this.#changing ?? (plain(this.#element["design-title"].value) || "name");
    this.#element["design-key-address"].textContent = new URL(`?character=${name}&autostart=1&stage=1`, this.#base).href;
  }

  #replace(look, field = null) {
    if (field === null || field !== this.#lastField) {
      this.#undone = [...this.#undone, this.#look].slice(-MOST_UNDONE);
    }
    this.#lastField = field;
    this.#say("");
    this.#put(look);
  }

  #undo() {
    this.#lastField = null;
    const before = this.#undone.pop();
    if (before) this.#put(before);
  }

  async #change(field, value, brings) {
    this.#replace({ ...this.#look, [field]: value }, field);
    if (!brings.length) return;
    await this.#trying(async () => {
      const { look } = await this.#lot(this.#look.species);
      if (this.#look[field] === value) this.#put({ ...this.#look, ...only(brings, look) });
    });
  }

  /** Somebody else, or of the same one only these fields. */
  async #throwDice(fields) {
    await this.#trying(async () => {
      const { look } = await this.#lot(fields && !fields.includes("species") ? this.#look.species : null);
      const before = this.#look;
      if (before) this.#replace(fields ? { ...before, ...only(fields, look) } : look);
      else this.#put(look);
    });
  }

  async #lot(species) {
    return (await this.#post("v1/designer/random", { species })).json();
  }

  async #picture(what, about) {
    return (await this.#post(`v1/designer/${what}`, about)).blob();
  }

  /** Each choice on screen gets pictures of what it would look like, while nothing moves. */
  async #pictureChoices() {
    if (!this.#look || this.#picturing) return;
    this.#picturing = true;
    for (let next; this.#preview.settled && (next = this.#controls.pictured().find(({ field }) => this.#outdated(field))); ) {
      const { field, show } = next;
      const about = this.#others(field);
      const url = await this.#picture("choices", { look: this.#look, field, size: CHOICE_SIZE }).then(URL.createObjectURL, () => null);
      if (!url) break;
      show(url);
      URL.revokeObjectURL(this.#pictured.get(field)?.url);
      this.#pictured.set(field, { about, url });
    }
    this.#picturing = false;
  }

  #outdated(field) {
    return this.#pictured.get(field)?.about !== this.#others(field);
  }

  /** What the pictures of a field's choices depend on: all the others. */
  #others(field) {
    return JSON.stringify({ ...this.#look, [field]: null });
  }

  #feelingButton(name) {
    const button = Object.assign(document.createElement("button"), { type: "button", value: name, title: capitalised(name), ariaLabel: capitalised(name) });
    button.innerHTML = emotionIcon(name);
    button.addEventListener("click", () => this.#feel(name));
    return button;
  }

  #feel(name) {
    this.#feeling = name;
    for (const button of this.#element["design-feelings"].children) button.setAttribute("aria-pressed", button.value === name);
    if (this.#look) this.#preview.show(this.#look);
  }

  async #save(replace) {
    const title = this.#element["design-title"].value.trim();
    if (!title) {
      this.#say("Give your character a name.", "bad");
      this.#element["design-title"].focus();
      return;
    }
    const query = new URLSearchParams({ title, ...(replace && { replace }) });
    this.#busy(true);
    this.#say("Saving");
    await this.#trying(async () => {
      const response = await this.#post(`v1/characters/designed?${query}`, { look: this.#look });
      for await (const told of readLines(response)) {
        if (told.stage === "refused") throw new Problem("refused", told.detail);
        if (told.stage === "done") return this.#kept(told.character);
        this.#say(STAGES[told.stage] ?? told.stage);
      }
      throw new Problem("server-gone", "The server ended before it was done.");
    });
    this.#busy(false);
  }

  #kept(character) {
    this.#say("");
    this.#changing = null;
    this.#look = null; // the next one begins anew
    this.#undone = [];
    this.#lastField = null;
    this.#element["design-title"].value = "";
    this.#element.designer.close();
    this.#onMade(character);
  }

  #export() {
    const { format, version } = this.#known;
    const title = this.#element["design-title"].value.trim() || "Unnamed";
    const text = JSON.stringify({ format, version, title, look: this.#look }, null, 2) + "\n";
    const file = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: file, download: `${plain(title) || "character"}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(file), 10_000);
  }

  async #trying(action) {
    try {
      await action();
    } catch (problem) {
      this.#tell(problem);
    }
  }

  #tell(problem) {
    this.#say(problem.detail || "The server cannot be reached.", "bad");
  }

  #say(text, tone = "") {
    const { "design-said": said } = this.#element;
    said.textContent = text;
    said.dataset.tone = tone;
  }

  #busy(busy) {
    for (const one of [this.#element["design-save"], this.#element["design-new"]]) one.disabled = busy;
  }

  /** A Blob goes as it is, anything else as JSON. */
  #post(path, content) {
    const body = content instanceof Blob ? content : JSON.stringify(content);
    return this.#ask(path, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  }

  async #ask(path, about = {}) {
    const response = await fetch(new URL(path, this.#base), { cache: "no-store", ...about });
    if (!response.ok) throw await problemOf(response);
    return response;
  }
}

/** As the server makes names of titles. */
function plain(title) {
  const ascii = title.normalize("NFKD").replace(/[^\x00-\x7f]/g, "").toLowerCase();
  return ascii.replace(/[^a-z0-9]+/g, "-").slice(0, 32).replace(/^-+|-+$/g, "");
}

function only(fields, look) {
  return Object.fromEntries(fields.map((field) => [field, look[field]]));
}
