/**
 * Tabs of sliders, colours and choices for the fields of a look, as the server describes them.
 * It knows nothing of servers or pictures: it tells what was changed.
 */

const DICE = `<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="4" y="4" width="16" height="16" rx="4"/><circle cx="9" cy="9" r="1.3"/><circle cx="15" cy="15" r="1.3"/><circle cx="15" cy="9" r="1.3"/><circle cx="9" cy="15" r="1.3"/></svg>`;

export class DesignControls {
  #tabs;
  #panels;
  #onChange;
  #onLot;
  #onTab;
  #controls = []; // {field, hidden, element, show(look)}

  /** `onChange(field, value, brings)` for one field; `onLot(group)` when a group is to be drawn by lot; `onTab()` when others are on screen. */
  constructor(tabs, panels, { onChange, onLot, onTab }) {
    this.#onTab = onTab;
    this.#tabs = tabs;
    this.#panels = panels;
    this.#onChange = onChange;
    this.#onLot = onLot;
    tabs.addEventListener("keydown", (event) => this.#walk(event));
  }

  /** The choices on screen, for pictures of them: [{field, show(url)}], where url has all values side by side. */
  pictured() {
    const shown = this.#controls.filter(({ element, picture }) => picture && element.offsetParent);
    return shown.map(({ field, picture }) => ({ field, show: picture }));
  }

  offer(groups) {
    this.#controls = [];
    this.#tabs.replaceChildren(...groups.map((group) => this.#tab(group)));
    this.#panels.replaceChildren(...groups.map((group) => this.#panel(group)));
    this.#open(groups[0].name);
  }

  show(look) {
    for (const { hidden, element, show } of this.#controls) {
      element.hidden = Object.entries(hidden).some(([field, values]) => values.includes(look[field]));
      show(look);
    }
    for (const panel of this.#panels.children) {
      const empty = !panel.querySelector(".dial:not([hidden])");
      document.getElementById(panel.getAttribute("aria-labelledby")).hidden = empty;
    }
    const open = this.#tabs.querySelector("[aria-selected=true]");
    if (open?.hidden) this.#open(this.#tabs.firstElementChild.value);
  }

  #tab({ name, label }) {
    const tab = make("button", { type: "button", role: "tab", id: `design-tab-${name}`, value: name, textContent: label });
    tab.setAttribute("aria-controls", `design-panel-${name}`);
    tab.addEventListener("click", () => this.#open(name));
    return tab;
  }

  #panel(group) {
    const panel = make("div", { role: "tabpanel", id: `design-panel-${group.name}`, className: "panel" });
    panel.setAttribute("aria-labelledby", `design-tab-${group.name}`);
    const lot = make("button", { type: "button", className: "lot", innerHTML: `${DICE}<span>Roll only this part</span>` });
    lot.addEventListener("click", () => this.#onLot(group));
    panel.append(...group.controls.map((control) => this.#control(control)), lot);
    return panel;
  }

  #open(name) {
    for (const tab of this.#tabs.children) {
      const open = tab.value === name;
      tab.setAttribute("aria-selected", open);
      tab.tabIndex = open ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !open;
      if (open) tab.scrollIntoView({ block: "nearest", inline: "center" }); // on a narrow page they are one long row
    }
    this.#onTab();
  }

  #walk(event) {
    const tabs = [...this.#tabs.children].filter((tab) => !tab.hidden);
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    this.#open(tab.value);
    tab.focus();
  }

  #control(control) {
    const change = (value) => this.#onChange(control.field, value, control.brings);
    const made = KINDS[control.kind](control, change);
    made.element.classList.add("dial", control.kind);
    this.#controls.push({ ...control, ...made });
    const { element } = made;
    return element;
  }
}

/* Of each kind: the element, and how it shows a look. */
const KINDS = {
  range({ field, label, low, high, step, ends }, change) {
    const element = make("label");
    const input = make("input", { type: "range", name: field, min: low, max: high, step });
    input.addEventListener("input", () => {
      say();
      change(Number(input.valueAsNumber.toFixed(4)));
    });
    const say = () => {
      const share = Math.round(((input.valueAsNumber - low) / (high - low)) * 100);
      input.setAttribute("aria-valuetext", `${share} % from ${ends[0]} to ${ends[1]}`);
    };
    const words = make("span", { className: "ends", ariaHidden: "true" });
    words.append(...ends.map((text) => make("span", { textContent: text })));
    element.append(make("span", { className: "dial-name", textContent: label }), input, words);
    return { element, show: (look) => { input.value = look[field]; say(); } };
  },

  choice({ field, label, options }, change) {
    const element = make("fieldset");
    const row = make("div", { className: "choices" });
    const inputs = options.map(({ value, label: text }, index) => {
      const choice = make("label");
      const input = make("input", { type: "radio", name: `design-${field}`, value });
      const shown = make("i", { ariaHidden: "true" });
      shown.style.setProperty("--place", options.length > 1 ? index / (options.length - 1) : 0);
      input.addEventListener("change", () => change(value));
      choice.append(input, shown, make("span", { textContent: text }));
      row.append(choice);
      return input;
    });
    row.style.setProperty("--count", options.length);
    element.append(make("legend", { className: "dial-name", textContent: label }), row);
    return {
      element,
      show: (look) => inputs.forEach((input) => { input.checked = input.value === look[field]; }),
      picture: (url) => row.style.setProperty("--pictures", `url(${url})`),
    };
  },

  colour({ field, label, swatches }, change) {
    const element = make("fieldset");
    const row = make("div", { className: "swatches" });
    const buttons = swatches.map((colour) => {
      const button = make("button", { type: "button", value: colour, title: colour, ariaLabel: `${label} ${colour}` });
      button.style.setProperty("--colour", colour);
      button.addEventListener("click", () => change(colour));
      return button;
    });
    const own = make("input", { type: "color", name: field, ariaLabel: `${label}, any colour`, title: "Any colour" });
    own.addEventListener("input", () => change(own.value));
    row.append(...buttons, own);
    element.append(make("legend", { className: "dial-name", textContent: label }), row);
    const show = (look) => {
      own.value = look[field].toLowerCase();
      for (const button of buttons) button.setAttribute("aria-pressed", button.value === own.value);
    };
    return { element, show };
  },

  lot({ label, low, high }, change) {
    const element = make("div");
    const button = make("button", { type: "button", innerHTML: `${DICE}<span>Arrange anew</span>` });
    button.addEventListener("click", () => change(low + Math.floor(Math.random() * Math.min(high - low, 1e6))));
    element.append(make("span", { className: "dial-name", textContent: label }), button);
    return { element, show: () => {} };
  },
};

function make(tag, about = {}) {
  return Object.assign(document.createElement(tag), about);
}
