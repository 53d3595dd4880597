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
  #wanted = null;
  #drawing = false;
  #settling = 0;

  /** `draw(look, size)` gives a Blob; what it throws is told. */
  constructor(image, draw, onProblem) {
    this.#image = image;
    this.#draw = draw;
    this.#onProblem = onProblem;
  }

  show(look) {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#want(look, fullSize(this.#image)), SETTLE_MS);
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
