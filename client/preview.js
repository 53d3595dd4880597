/**
 * Pictures of a look that changes faster than it can be drawn: one is asked for at a time, and the newest look wins.
 * It knows nothing of controls.
 */

const QUICK_SIZE = 384; // while things move
const SETTLE_MS = 180; // after the last change, before it is drawn in full
const MOST_SIZE = 1024;

export class Preview {
  #image;
  #draw;
  #onProblem;
  #onSettled;
  #wanted = null;
  #drawing = false;
  #settling = 0;

  /** `draw(look, size)` gives a Blob; what it throws is told. `onSettled` is called when the last look is on screen. */
  constructor(image, { draw, onProblem, onSettled }) {
    this.#image = image;
    this.#draw = draw;
    this.#onProblem = onProblem;
    this.#onSettled = onSettled;
  }

  /** Nothing is moving, or about to be drawn. */
  get settled() {
    return this.#image.ariaBusy === "false";
  }

  show(look) {
    this.#image.ariaBusy = "true";
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(look), SETTLE_MS);
    this.#want(look, QUICK_SIZE);
  }

  async #want(look, size) {
    this.#wanted = { look, size };
    if (this.#drawing) return;
    this.#drawing = true;
    while (this.#wanted) {
      const { look, size } = this.#wanted;
      this.#wanted = null;
      await this.#draw(look, size).then((picture) => this.#put(picture), this.#onProblem);
    }
    this.#drawing = false;
    if (this.#settling) return;
    this.#image.ariaBusy = "false";
    this.#onSettled();
  }

  #settle(look) {
    this.#settling = 0;
    this.#want(look, fullSize(this.#image));
  }

  /** The old picture stays until the new one is there. */
  async #put(picture) {
    const old = this.#image.src;
    this.#image.src = URL.createObjectURL(picture);
    this.#image.hidden = false;
    await this.#image.decode().catch(() => {});
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  }
}

function fullSize(image) {
  const side = Math.round(image.parentElement.clientWidth * Math.min(devicePixelRatio, 2));
  return Math.min(MOST_SIZE, Math.max(QUICK_SIZE, side));
}
